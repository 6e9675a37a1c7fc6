"""Which threads of the process come first: the one that answers, before those that compute.

A thread that wakes may push aside whoever runs on that processor, and a thread that computes keeps it until
its turn is over: some milliseconds, where an event loop needs a fraction of one to answer. Linux knows both
wishes, to push nobody aside and to have short turns soon, and grants them to anybody. Why so, with figures:
docs/decisions/precedence.md.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TURN_NS = 500_000
"""What an event loop has to do for a request fits into this. A thread that computes has about 3 ms."""

CALLS = {"x86_64": (314, 315), "aarch64": (274, 275)}
"""Numbers of the system calls sched_setattr and sched_getattr, which Python does not know."""

PROCESSOR = 36
"""Its place in proc_pid_stat(5) behind the name."""

RESET_ON_FORK = 1
"""Threads that are begun later have turns of the usual length."""


def give_way() -> None:
    """Have the calling thread push nobody aside as it wakes, nor those that it begins from now on.

    It has its full share of a processor all the same. Linux calls such threads SCHED_BATCH; elsewhere, and
    where somebody has given the thread another policy, nothing changes. It needs no right.
    """
    if not hasattr(os, "SCHED_BATCH"):
        return
    with suppress(OSError):  # a sandbox may forbid it: then it is as before
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def come_first() -> bool:
    """Have the calling thread take short turns, which Linux grants sooner (6.12 and later, else no change).

    It has no more of a processor than others, only sooner. False where the system knows no such wish, or has
    been told something else for this thread.
    """
    calls = CALLS.get(platform.machine())
    if calls is None or not hasattr(os, "SCHED_OTHER") or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    attributes = _Attributes(size=ctypes.sizeof(_Attributes))
    system = ctypes.CDLL(None)
    if system.syscall(calls[1], 0, ctypes.byref(attributes), attributes.size, 0):
        return False
    attributes.runtime_ns = TURN_NS
    attributes.flags |= RESET_ON_FORK
    return bool(system.syscall(calls[0], 0, ctypes.byref(attributes), 0) == 0)


@contextmanager
def keeping_off(thread: int, beside: int = 0) -> Iterator[None]:
    """Have the calling thread, and those that it begins, leave that thread the processor that it is on.

    Until the block is left; threads that are begun in it may then run anywhere again, as the calling one may.
    Where so many that compute are there `beside` it that they have the other processors already, and where
    there is one processor, or no Linux, nothing changes. `thread` is its native id.
    """
    allowed = _processors(0)
    others = allowed - {_processor_of(thread)}
    if len(others) <= beside or others == allowed or not _keep_to(others):
        yield
        return
    before = _threads()
    try:
        yield
    finally:
        for each in [0, *(_threads() - before)]:
            if _processors(each) == others:  # one with processors of its own keeps them
                with suppress(OSError):  # it has ended
                    os.sched_setaffinity(each, allowed)


def _keep_to(processors: set[int]) -> bool:
    """Have the calling thread run on these alone. False where a sandbox forbids it: then it is as before."""
    try:
        os.sched_setaffinity(0, processors)
    except OSError:
        return False
    return True


def _processors(thread: int) -> set[int]:
    """Those that it may run on; none where that is not known."""
    try:
        return os.sched_getaffinity(thread)
    except (AttributeError, OSError):
        return set()


def _processor_of(thread: int) -> int:
    """The one that a thread of this process is on, or was last; -1 where that is not known."""
    try:
        said = Path(f"/proc/self/task/{thread}/stat").read_text()
    except OSError:
        return -1
    return int(said.rpartition(")")[2].split()[PROCESSOR])


def _threads() -> set[int]:
    """Of this process."""
    return {int(each) for each in os.listdir("/proc/self/task")}


class _Attributes(ctypes.Structure):
    """`struct sched_attr`, as sched_setattr(2) has it."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )
