"""What a process that forks others, and those that it forks, ask of the kernel. Linux."""

import ctypes
import os
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def die_with_parent() -> None:
    """Killed when the thread that forked this process ends, however that comes."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """What children leave behind becomes a child of this process, which is to reap it."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def kill_group(pid: int) -> None:
    """A child and what it has started; by itself where it had no time yet to begin a group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_orphans(spared: Collection[int] = ()) -> None:
    """What children have started in sessions of its own came to this process when they ended."""
    own = os.getpid()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            _, _, rest = status.read_text().rpartition(")")
            pid = int(status.parent.name)
            if int(rest.split()[1]) == own and pid not in spared:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)
