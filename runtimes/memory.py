"""Gives memory that this process has freed back to the system.

Allocators keep what is freed for the next who asks, glibc's in particular what lies below something that is
still in use: after a model is closed, all of its memory may stay with the process. Why so, with figures:
docs/decisions/memory-returned.md.
"""

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int | None = None) -> int:
    """Pages of a process that are in memory, those of files among them; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def trim() -> int:
    """Give back whole pages that nothing lies in, and say by how much what is resident shrank.

    Blocks for milliseconds, without Python's lock; other threads that allocate meanwhile wait in turns. Does
    nothing where the C library has no such call.
    """
    trimming = _malloc_trim()
    if trimming is None:
        return 0
    before = resident_bytes()
    trimming(0)
    return max(0, before - resident_bytes())


@cache
def _malloc_trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
