"""What this process has freed: kept for the next request, or given back to the system.

Allocators keep what is freed for the next who asks, glibc's in particular what lies below something that is
still in use: after a model is closed, all of its memory may stay with the process, until it is trimmed. The
tensors of a request it gives back at once, if they are large, only to ask for them anew. Why, with figures:
docs/decisions/memory-returned.md.
"""

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

PAGE = os.sysconf("SC_PAGE_SIZE")

KEPT_BYTES = 1 << 25
"""Of the free end of a heap; and blocks up to this size lie in one. It is the most that glibc allows."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
OPERATORS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
"""Whoever sets one of these knows better."""


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


def keep_freed() -> bool:
    """Have the memory of large tensors kept for the next request, rather than returned and zeroed anew.

    False where the operator has settings of their own, or the C library has no such call.
    """
    setting = getattr(ctypes.CDLL(None), "mallopt", None)
    if setting is None or any(name in os.environ for name in OPERATORS_OWN):
        return False
    return bool(setting(M_MMAP_THRESHOLD, KEPT_BYTES) and setting(M_TRIM_THRESHOLD, KEPT_BYTES))


@cache
def _malloc_trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
