"""Memory that two processes of one host share: one side owns it and hands out places, the other reads and
writes there.

It is a file without a name (`memfd`), so nothing is left anywhere when either side is killed: it goes with
the last process that has it open. The owner passes its descriptor over a Unix socket; the other side maps
it (`map_to_read`, `map_to_write`). Neither can change its size. Its bytes take memory once they are written
to; those above what has been in use lately are given back.
"""

import fcntl
import mmap
import os
import threading
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from runtimes.holes import Holes

ALIGNMENT = 64
"""Of every place: what the widest loads of a processor ask for."""

LOOK_EVERY = 256
"""Places taken between two looks at what is not in use any more."""

WORTH_BYTES = 1 << 20
"""Less is not worth a call into the kernel."""

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
Bytes = NDArray[np.uint8]


class SlabFull(Exception):
    """There was no room in time; the sentence says how much was asked for and how much there is."""


class Place:
    """Bytes that belong to who took them, until they are released, once."""

    __slots__ = ("_map", "_release", "size", "start")

    def __init__(
        self, start: int, size: int, whole: mmap.mmap, release: Callable[[tuple[int, int]], None]
    ) -> None:
        self.start = start
        self.size = size
        self._map = whole
        self._release = release

    @property
    def view(self) -> Bytes:
        """Its bytes. Whoever keeps views of it keeps the place."""
        return np.frombuffer(self._map, np.uint8, self.size, self.start)

    def lend(self) -> Bytes:
        """Its bytes; the place is released when the last view of them is gone."""
        view = self.view
        weakref.finalize(view, self.release).atexit = False
        return view

    def release(self) -> None:
        """From any thread, also from a destructor. Once is enough, and more changes nothing."""
        release, self._release = self._release, _done
        release((self.start, self.size))


class Slab:
    """The owner's side, of `size` bytes. Any thread may take; each place is its taker's to release."""

    def __init__(self, size: int) -> None:
        self.size = _rounded(size, mmap.PAGESIZE)
        self.descriptor = os.memfd_create("tercet", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, self.size)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, SEALS)
        self._map: mmap.mmap | None = mmap.mmap(self.descriptor, self.size)
        self._holes = Holes(self.size)
        self._taking = threading.Lock()
        self._released: SimpleQueue[tuple[int, int]] = SimpleQueue()  # its `put` may interrupt itself
        self._taken = 0
        self._touched = self._lately = 0

    @property
    def free(self) -> int:
        """Bytes that nobody has, at least."""
        return self._holes.free

    def take(self, size: int, within_s: float) -> Place:
        """Wait for so many bytes in one piece, in the order of asking. Raises `SlabFull`."""
        size = _rounded(max(size, 1), ALIGNMENT)
        until = monotonic() + within_s
        if size > self.size or not self._taking.acquire(timeout=within_s):
            raise self._full(size)
        try:
            if self._map is None:
                raise SlabFull("the memory that is shared with the process of the model is closed")
            while True:
                while not self._released.empty():
                    self._holes.give(*self._released.get())
                start = self._holes.take(size)
                if start is not None:
                    break
                try:
                    self._holes.give(*self._released.get(timeout=max(0.0, until - monotonic())))
                except Empty:
                    raise self._full(size) from None
            self._note(start + size, self._map)
            return Place(start, size, self._map, self._released.put)
        finally:
            self._taking.release()

    def close(self) -> None:
        """Give the memory back, once the last view of it is gone. Nobody takes any more."""
        with self._taking:
            os.close(self.descriptor)
            self._map = None

    def _note(self, end: int, whole: mmap.mmap) -> None:
        """Now and then, give back what lies above all that has been in use since the last look."""
        self._lately = max(self._lately, end)
        self._touched = max(self._touched, end)
        self._taken += 1
        if self._taken % LOOK_EVERY:
            return
        keep = _rounded(self._lately, mmap.PAGESIZE)
        if self._touched - keep >= WORTH_BYTES and self._holes.is_free_from(keep):
            whole.madvise(mmap.MADV_REMOVE, keep, self.size - keep)
            self._touched = keep
        self._lately = 0

    def _full(self, size: int) -> SlabFull:
        return SlabFull(
            f"{size} bytes of tensors do not fit into the {self.size} that are shared with the process of "
            "the model" + ("" if size > self.size else ", as others have them")
        )


def map_to_read(descriptor: int) -> Bytes:
    """The other side's map; what is written through it would be a crash."""
    return np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), np.uint8)


def map_to_write(descriptor: int) -> Bytes:
    return np.frombuffer(mmap.mmap(descriptor, 0), np.uint8)


def _done(_: tuple[int, int]) -> None:
    """It is released already."""


def _rounded(size: int, to: int) -> int:
    return -(-size // to) * to
