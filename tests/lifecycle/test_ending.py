"""What is said of a trial that could not speak for itself."""

import signal

import pytest

from server.lifecycle.ending import Ending, Limits, reason

LIMITS = Limits(timeout_s=5, memory_bytes=300 * 2**20)
FAULT = """Fatal Python error: Segmentation fault

Current thread 0x1 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/srv/models/m/1/pre.py", line 7 in setup
  File "/srv/tercet/runtimes/code.py", line 100 in _open
"""


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        (Ending(limit="time", signal=9), "not done within 5 s (--verify-timeout-secs)"),
        (Ending(limit="memory", signal=9), "more than 300 MiB of memory (--verify-memory-bytes)"),
        (Ending(signal=signal.SIGSEGV), "by SIGSEGV: it touched memory that is not its own"),
        (Ending(signal=signal.SIGABRT), "by SIGABRT: native code gave up"),
        (Ending(signal=signal.SIGKILL), "by SIGKILL: the system killed it, as it does when memory runs out"),
        (Ending(signal=signal.SIGTERM), "by SIGTERM: something sent it that signal"),
        (Ending(signal=64), "by SIGRTMAX"),
        (Ending(signal=63), "by signal 63"),
        (Ending(code=3), "with exit code 3"),
    ],
)
def test_an_ending_is_told_with_the_stage_that_it_came_at(ending, says):
    told = reason(ending, "golden example 'a'", LIMITS)
    assert says in told
    assert "golden example 'a'" in told


def test_the_line_of_the_authors_own_code_is_named():
    assert "at loading (pre.py line 7, in setup), by" in reason(
        Ending(signal=11, said=FAULT), "loading", LIMITS
    )


def test_what_the_system_killed_may_pass_and_what_a_limit_stopped_would_be_stopped_again():
    assert Ending(signal=signal.SIGKILL).may_pass
    for ending in (Ending(limit="memory", signal=9), Ending(limit="time", signal=9), Ending(signal=11)):
        assert not ending.may_pass


def test_only_a_crash_of_its_own_making_will_come_again():
    assert Ending(signal=signal.SIGSEGV).is_a_crash
    for ending in (
        Ending(signal=9),
        Ending(limit="time", signal=9),
        Ending(limit="memory", signal=6),
        Ending(),
    ):
        assert not ending.is_a_crash
