"""Threads that work in the background do not push the event loop aside as they wake."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from server.giving_way import give_way
from tests.server_process import SAMPLES, running


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


def test_in_a_server_loads_and_lines_of_the_log_give_way_and_the_event_loop_does_not(tmp_path: Path) -> None:
    with running(tmp_path / "log", SAMPLES) as server:
        threads = [int(task.name) for task in Path(f"/proc/{server.pid}/task").iterdir()]
        policies = {thread: os.sched_getscheduler(thread) for thread in threads}
    assert policies.pop(server.pid) == os.SCHED_OTHER
    assert list(policies.values()).count(os.SCHED_BATCH) >= len(["log", "load"])
