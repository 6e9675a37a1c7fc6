"""Buffers on the host, made once and used again: taken for a run, and free when nobody sees their bytes.

Memory that a device copies from and to by itself (`runtimes.pinned`) is dear to make, so it is kept. An array
that is handed to an answer may be read long after the run: its bytes belong to nobody else until its last
view has gone.
"""

import math
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from runtimes.tensors import Array

LEAST_BYTES = 1 << 12
STEPS = 8
"""Sizes between a power of two and the next: an eighth of a buffer is wasted at most."""

Block = Any
"""Bytes of a fixed place, as something that has Python's buffer interface."""


class NoRoom(Exception):
    """There is no more of such memory; ordinary memory does, more slowly."""


class Buffers:
    """Any thread may take. At most `keep_bytes` of idle ones are kept.

    allocate   makes a block of so many bytes, or raises `NoRoom`
    free       takes one back; never called while somebody sees its bytes
    """

    def __init__(
        self, allocate: Callable[[int], Block], free: Callable[[Block], None], *, keep_bytes: int
    ) -> None:
        self._allocate = allocate
        self._free = free
        self._keep_bytes = keep_bytes
        self._idle: defaultdict[int, list[Block]] = defaultdict(list)
        self._idle_bytes = 0
        self._lock = threading.Lock()
        self._released: SimpleQueue[tuple[int, Block]] = SimpleQueue()  # its `put` may come from a destructor

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array whose content is whatever was there; the caller's until its last view has gone."""
        dtype = np.dtype(dtype)
        size = dtype.itemsize * math.prod(shape)
        if not size:
            return np.empty(shape, dtype)
        room = _rounded(size)
        with self._lock:
            self._collect(self._keep_bytes)
            blocks = self._idle[room]
            block = blocks.pop() if blocks else None
            if block is not None:
                self._idle_bytes -= room
        if block is None:
            try:
                block = self._allocate(room)
            except NoRoom:
                return np.empty(shape, dtype)
        seen = np.frombuffer(block, np.uint8, size)
        weakref.finalize(seen, self._released.put, (room, block)).atexit = False
        return seen.view(dtype).reshape(shape)

    def give_back(self) -> None:
        """Free all that nobody sees. The others are kept once they are released, or freed with the next
        call."""
        with self._lock:
            self._collect(0)

    def _collect(self, keep: int) -> None:
        while not self._released.empty():
            room, block = self._released.get()
            self._idle[room].append(block)
            self._idle_bytes += room
        for room, blocks in self._idle.items():
            while blocks and self._idle_bytes > keep:
                self._idle_bytes -= room
                self._free(blocks.pop())


def _rounded(size: int) -> int:
    step = max(LEAST_BYTES, (1 << (size - 1).bit_length()) // (2 * STEPS))
    return -(-size // step) * step
