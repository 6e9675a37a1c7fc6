"""The event loop comes first: threads that compute neither push it aside nor keep it waiting."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server.precedence import TURN_NS, come_first, give_way, keeping_off
from tests.server_process import SAMPLES, running


def turn_ns() -> int | None:
    """Of the calling thread; None where the system does not tell."""
    try:
        said = Path("/proc/thread-self/sched").read_text()
    except OSError:
        return None
    return next((int(line.split()[-1]) for line in said.splitlines() if line.startswith("se.slice")), None)


def of_a_thread(work: Callable[[], None]) -> int:
    """The policy of a thread that has done `work`."""
    found: list[int] = []

    def run() -> None:
        work()
        found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return found[0]


def test_a_thread_gives_way_and_its_caller_does_not() -> None:
    assert of_a_thread(give_way) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_thread_with_a_policy_of_its_own_keeps_it() -> None:
    def idle_and_give_way() -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        give_way()

    assert of_a_thread(idle_and_give_way) == os.SCHED_IDLE


def test_who_comes_first_has_short_turns_and_begins_threads_with_usual_ones() -> None:
    usual = turn_ns()
    turns: list[int | None] = []

    def come() -> None:
        assert come_first()
        turns.append(turn_ns())
        begun = threading.Thread(target=lambda: turns.append(turn_ns()))
        begun.start()
        begun.join(10)

    assert of_a_thread(come) == os.SCHED_OTHER | os.SCHED_RESET_ON_FORK
    assert turns == ([None, None] if usual is None else [TURN_NS, usual])


def test_who_gives_way_does_not_come_first_as_well() -> None:
    came: list[bool] = []

    def both() -> None:
        give_way()
        came.append(come_first())

    assert of_a_thread(both) == os.SCHED_BATCH
    assert came == [False]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor")
def test_who_keeps_off_leaves_a_thread_its_processor_and_so_do_those_that_are_begun_meanwhile() -> None:
    whole = os.sched_getaffinity(0)
    (at,) = where = {next(iter(whole))}
    over = threading.Event()
    seen: dict[str, set[int]] = {}
    stayed = threading.Thread(target=lambda: (os.sched_setaffinity(0, where), over.wait(10)))
    stayed.start()
    begun = threading.Thread(target=over.wait, args=(10,))
    pinned = threading.Thread(target=lambda: (os.sched_setaffinity(0, where), over.wait(10)))

    def keep_off() -> None:
        while at != int(Path(f"/proc/self/task/{stayed.native_id}/stat").read_text().split()[38]):
            time.sleep(0.001)
        with keeping_off(stayed.native_id or 0):
            seen["inside"] = os.sched_getaffinity(0)
            begun.start()
            pinned.start()
            seen["begun inside"] = os.sched_getaffinity(begun.native_id or 0)
            time.sleep(0.05)
        seen["behind"] = os.sched_getaffinity(0)
        seen["begun, behind"] = os.sched_getaffinity(begun.native_id or 0)
        seen["pinned, behind"] = os.sched_getaffinity(pinned.native_id or 0)

    keeper = threading.Thread(target=keep_off)
    keeper.start()
    keeper.join(10)
    over.set()
    for each in (stayed, begun, pinned):
        each.join(10)
    assert seen == {
        "inside": whole - where,
        "begun inside": whole - where,
        "behind": whole,
        "begun, behind": whole,
        "pinned, behind": where,
    }
    assert os.sched_getaffinity(0) == whole


def test_where_others_have_the_processors_that_are_left_nobody_keeps_off() -> None:
    whole = os.sched_getaffinity(0)
    with keeping_off(threading.get_native_id(), beside=len(whole) - 1):
        assert os.sched_getaffinity(0) == whole


def test_where_a_sandbox_forbids_it_everything_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    whole = os.sched_getaffinity(0)
    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    with keeping_off(threading.get_native_id()):
        assert os.sched_getaffinity(0) == whole


def test_who_keeps_off_a_thread_that_is_gone_goes_where_it_likes() -> None:
    before = os.sched_getaffinity(0)
    with keeping_off(2**22 + 1):
        assert os.sched_getaffinity(0) == before
    assert os.sched_getaffinity(0) == before


def test_in_a_server_loads_and_lines_of_the_log_give_way_and_the_event_loop_does_not(tmp_path: Path) -> None:
    with running(tmp_path / "log", SAMPLES) as server:
        threads = [int(task.name) for task in Path(f"/proc/{server.pid}/task").iterdir()]
        policies = {thread: os.sched_getscheduler(thread) for thread in threads}
    assert policies.pop(server.pid) == os.SCHED_OTHER | os.SCHED_RESET_ON_FORK
    assert list(policies.values()).count(os.SCHED_BATCH) >= len(["log", "load"])
