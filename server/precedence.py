"""Which threads of the process come first: the one that answers, before those that compute.

A thread that wakes may push aside whoever runs on that processor, and a thread that computes keeps it until
its turn is over: some milliseconds, where an event loop needs a fraction of one to answer. Linux knows both
wishes, to push nobody aside and to have short turns soon, and grants them to anybody. Why so, with figures:
docs/decisions/precedence.md.
"""

import ctypes
import os
import platform
from contextlib import suppress

TURN_NS = 500_000
"""What an event loop has to do for a request fits into this. A thread that computes has about 3 ms."""

CALLS = {"x86_64": (314, 315), "aarch64": (274, 275)}
"""Numbers of the system calls sched_setattr and sched_getattr, which Python does not know."""

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
