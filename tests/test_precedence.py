"""The event loop comes first: threads that compute neither push it aside nor keep it waiting."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from server.precedence import TURN_NS, come_first, give_way
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


def test_in_a_server_loads_and_lines_of_the_log_give_way_and_the_event_loop_does_not(tmp_path: Path) -> None:
    with running(tmp_path / "log", SAMPLES) as server:
        threads = [int(task.name) for task in Path(f"/proc/{server.pid}/task").iterdir()]
        policies = {thread: os.sched_getscheduler(thread) for thread in threads}
    assert policies.pop(server.pid) == os.SCHED_OTHER | os.SCHED_RESET_ON_FORK
    assert list(policies.values()).count(os.SCHED_BATCH) >= len(["log", "load"])
