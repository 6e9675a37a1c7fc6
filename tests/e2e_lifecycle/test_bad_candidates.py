"""Whatever somebody drops into the repository: it is rejected in words, and the good model answers on."""

from contextlib import suppress

import psutil
import pytest

from tests.e2e_lifecycle.candidates import every_kind
from tests.e2e_lifecycle.ledger import entry, ledger
from tests.e2e_lifecycle.repository import Repository
from tests.e2e_lifecycle.traffic import Right, traffic
from tests.server_process import Server, running

KINDS = every_kind()
OPTIONS = (
    *("--verify-models=true", "--verify-timeout-secs=12", f"--verify-memory-bytes={200 * 2**20}"),
    *("--model-load-thread-count=12", "--repository-settle-secs=0.1", "--access-log=false"),
)


def said_of(server: Server) -> dict[str, tuple[str, str]]:
    return {name: said for (name, _), said in server.index().items()}


@pytest.fixture(scope="module")
def came_of_it(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """What the index says of each candidate, all of them dropped in at once beside a model under load."""
    repository = Repository(tmp_path_factory.mktemp("bad"))
    repository.write("ledger", 1, ledger(1))
    names = {candidate.name for candidate in KINDS}

    def right() -> Right:
        return lambda version, at, answer: answer == entry(1, at)

    with running(tmp_path_factory.mktemp("log") / "log", repository.path, options=OPTIONS) as server:

        def all_judged() -> bool:
            index = said_of(server)
            states = {name: index.get(name, ("", ""))[0] for name in names}
            return all(state in ("UNAVAILABLE", "READY") for state in states.values())

        with traffic(server, "ledger", right) as load:
            for candidate in KINDS:
                candidate.put(repository.path)
            with suppress(AssertionError):  # each test tells what has become of its own candidate
                server.until(all_judged, within_s=150, every_s=0.2)
            index = said_of(server)
        assert load.faults == []
        assert len(load.outcomes) > 100
        assert index["ledger"] == ("READY", "")
        processes = psutil.Process(server.pid).children(recursive=True)
    _, alive = psutil.wait_procs(processes, 5)
    assert alive == []
    return index


@pytest.mark.parametrize("candidate", KINDS, ids=lambda candidate: candidate.name)
def test_a_bad_candidate_is_rejected_for_a_reason_that_a_person_understands(candidate, came_of_it):
    state, reason = came_of_it[candidate.name]
    assert state == "UNAVAILABLE", reason
    for words in candidate.says:
        assert any(each in reason for each in words.split("|")), reason
    assert "internal error" not in reason
    assert "Traceback" not in reason
