"""Keeps files of versions that left in the host's memory, so that they come back without reading the disk.

They stay where the kernel has them anyway: in its page cache, shared with other processes and without a copy.
Each file is mapped and, where the process may do that, locked; where it may not, the kernel is asked to read
it and may drop it again when memory is short, which costs time and never memory. Calls block while files
are read: they belong in a thread, one at a time.
"""

import ctypes
import mmap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from server.lifecycle.residency.accountant import Key
from server.lifecycle.residency.host_tier import who_stays

log = structlog.get_logger(__name__)

Order = Callable[[Iterable[Key]], Sequence[Key]]
"""`GreedyDual.order`: the first to go first."""


@dataclass(frozen=True, slots=True)
class _Kept:
    size: int
    maps: tuple[mmap.mmap, ...]


class WarmFiles:
    """The files of at most `budget_bytes`; of none with 0."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._kept: dict[Key, _Kept] = {}
        self._said = False

    @property
    def sizes(self) -> Mapping[Key, int]:
        """Bytes of what is kept."""
        return {key: kept.size for key, kept in self._kept.items()}

    def left(self, key: Key, folder: Path, order: Order) -> None:
        """A version was evicted: keep the files below its folder, if it is worth more than others."""
        if not self._budget_bytes:
            return
        self.drop(key)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        size = sum(_size(path) for path in files)
        sizes = {**self.sizes, key: size}
        staying = who_stays(sizes, order(sizes), self._budget_bytes)
        for other in self._kept.keys() - staying:
            self.drop(other)
        if key in staying:
            self._kept[key] = _Kept(size, tuple(self._mapped(files)))

    def drop(self, key: Key) -> None:
        """It is back in memory, or offered no more. Nothing happens to one that is not kept."""
        kept = self._kept.pop(key, None)
        for each in kept.maps if kept is not None else ():
            each.close()

    def close(self) -> None:
        for key in list(self._kept):
            self.drop(key)

    def _mapped(self, files: Iterable[Path]) -> Iterable[mmap.mmap]:
        for path in files:
            with suppress(OSError, ValueError), path.open("rb") as file:  # gone, or empty
                mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
                mapped.madvise(mmap.MADV_WILLNEED)
                self._lock(mapped)
                yield mapped

    def _lock(self, mapped: mmap.mmap) -> None:
        """Closing the map unlocks it."""
        there = np.frombuffer(mapped, np.uint8)
        if not _mlock(there.ctypes.data, there.nbytes) and not self._said:
            self._said = True
            log.info("host_cache_not_locked", reason="the limit on locked memory is too low (ulimit -l)")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _mlock(address: int, size: int) -> bool:
    """Whether it could be locked."""
    lock: Any = ctypes.CDLL(None).mlock
    return not lock(ctypes.c_void_p(address), ctypes.c_size_t(size))
