"""A file that stays in the host's memory, without a copy and without a descriptor.

Python's own `mmap` keeps a duplicate of the descriptor for as long as it lives, and of these a process has
some hundreds; of maps it has ten thousands. So the C library is asked itself. Linux.
"""

import ctypes
import mmap
import os
from pathlib import Path
from typing import Any, Self

_LIBRARY: Any = ctypes.CDLL(None, use_errno=True)
_LIBRARY.mmap.restype = ctypes.c_void_p
_LIBRARY.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
for _call in (_LIBRARY.madvise, _LIBRARY.mlock, _LIBRARY.munmap):
    _call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int][: 3 if _call is _LIBRARY.madvise else 2]

_FAILED = ctypes.c_void_p(-1).value


class MappedFile:
    """Its pages are never looked at, so a file that is cut short meanwhile harms nobody."""

    def __init__(self, address: int, size: int) -> None:
        self._address = address
        self._size = size

    @classmethod
    def of(cls, path: Path) -> Self:
        """Map it, and have the kernel read it. Raises `OSError`, for one of no bytes, too."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            address = _LIBRARY.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        finally:
            os.close(descriptor)
        if address == _FAILED:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
        _LIBRARY.madvise(address, size, mmap.MADV_WILLNEED)
        return cls(address, size)

    def lock(self) -> bool:
        """Whether it is now held in memory. Blocks until it has been read."""
        return not _LIBRARY.mlock(self._address, self._size)

    def close(self) -> None:
        """Once; that unlocks it."""
        _LIBRARY.munmap(self._address, self._size)
