"""Threads that work in the background give way to the one that answers.

A thread that wakes may take the processor from whoever runs on it. A load, a line of the log or memory that
is given back wakes often, and an event loop that is pushed aside in mid-request waits until that thread's
turn is over: milliseconds, where its own work takes microseconds. Figures: docs/decisions/giving-way.md.
"""

import os
from contextlib import suppress


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
