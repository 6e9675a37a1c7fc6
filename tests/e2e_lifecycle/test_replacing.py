"""Replacing what serves under load, again and again: no request fails, and nothing is left behind."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.e2e_lifecycle.ledger import BYTES, entry, ledger
from tests.e2e_lifecycle.repository import Repository
from tests.e2e_lifecycle.traffic import Right, Traffic, traffic
from tests.server_process import Server, running

WARM_UP = 10
"""Replacements before the first look: by then pools have their threads, and the allocator its arenas."""

TIMES = [pytest.param(50), pytest.param(500, marks=pytest.mark.slow)]

MORE_MEMORY = 10 * BYTES
"""What the allocator may keep: if one edition in five were forgotten, fifty would be over it already."""

POOLED = 2
"""Threads that a bounded pool may still start: one left behind by each replacement would be fifty."""

ONE_INSTANCE = "instance_group { kind: KIND_CPU count: 1 }"


class Figures(NamedTuple):
    """What a process holds."""

    files: int
    threads: int
    memory: int


def figures(server: Server) -> Figures:
    """Taken while the test's own connection is open, as it may have idled for too long."""
    assert server.ready()
    process = psutil.Process(server.pid)
    return Figures(process.num_fds(), process.num_threads(), server.rss_bytes())


def figures_like(before: Figures, server: Server) -> Figures:
    """Once it has no more than before, or after a while: a scan opens a folder or two."""
    until = time.monotonic() + 20
    while not has_no_more(now := figures(server), before) and time.monotonic() < until:
        time.sleep(0.05)
    return now


def has_no_more(now: Figures, before: Figures) -> bool:
    return now.files <= before.files and now.threads <= before.threads + POOLED


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path)
    repository.write("ledger", 1, ledger(1), ONE_INSTANCE)
    return repository


@pytest.fixture
def server(repository: Repository, tmp_path: Path) -> Iterator[Server]:
    options = ["--repository-settle-secs=0.05", "--cpu-threads=2", "--access-log=false"]
    with running(tmp_path / "log", repository.path, options=options) as server:
        yield server


def replaced(server: Server, load: Traffic, times: int, replace: Callable[[int], None]) -> None:
    """Replace the first edition by the second and so on, and hold what comes of it to what is promised."""
    for edition in range(2, 2 + WARM_UP):
        replace(edition)
    before = figures(server)
    for edition in range(2 + WARM_UP, 2 + WARM_UP + times):
        replace(edition)
        assert load.faults == []
    after = figures_like(before, server)
    assert has_no_more(after, before), (before, after)
    assert after.memory < before.memory + MORE_MEMORY
    load.stop()
    assert load.faults == []
    assert {outcome.door for outcome in load.outcomes} == {"http", "grpc"}
    assert len(load.outcomes) > 10 * times, "there was load all the time"
    assert "error" not in server.log


@pytest.mark.parametrize("times", TIMES)
def test_replacing_a_version_by_the_next_fails_no_request_and_leaves_nothing_behind(
    server, repository, times
):
    def of_the_version_that_it_names() -> Right:
        return lambda version, at, said: said == entry(int(version), at)

    def replace(edition: int) -> None:
        repository.move_in("ledger", edition, ledger(edition))
        repository.move_out("ledger", edition - 1)
        server.until(lambda: server.index().get(("ledger", str(edition))) == ("READY", ""), every_s=0.01)

    with traffic(server, "ledger", of_the_version_that_it_names) as load:
        replaced(server, load, times, replace)
    assert list(server.index()) == [("ledger", str(1 + WARM_UP + times))]


@pytest.mark.parametrize("times", TIMES)
def test_replacing_the_file_of_a_version_fails_no_request_and_leaves_nothing_behind(
    server, repository, times
):
    seen = [1]
    written = [1]
    arrived = threading.Event()

    def of_an_edition_that_could_serve_meanwhile() -> Right:
        oldest = seen[-1]

        def right(version: str, at: int, said: float) -> bool:
            edition = int(said // 1000)
            if edition > seen[-1]:
                seen.append(edition)
                arrived.set()
            return version == "1" and oldest <= edition <= written[-1] and said == entry(edition, at)

        return right

    def replace(edition: int) -> None:
        arrived.clear()
        written.append(edition)
        repository.replace_file("ledger", 1, ledger(edition))
        assert arrived.wait(30), server.log

    with traffic(server, "ledger", of_an_edition_that_could_serve_meanwhile) as load:
        replaced(server, load, times, replace)
    assert seen == list(range(1, 2 + WARM_UP + times))
    assert server.index() == {("ledger", "1"): ("READY", "")}
