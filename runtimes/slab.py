"""Memory that two processes of one host share: one side owns it and hands out places, the other reads and
writes there.

It is a file without a name (`memfd`), so nothing is left anywhere when either side is killed: it goes with
the last process that has it open. The owner passes its descriptor over a Unix socket; the other side maps
it (`map_to_read`, `map_to_write`). Neither can change its size. Its bytes take memory once they are written
to; those above what was in use in the last second are given back (`runtimes/tidying.py`).
"""

import fcntl
import mmap
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from runtimes.holes import Holes
from runtimes.tidying import TIDIER

ALIGNMENT = 64
"""Of every place: what the widest loads of a processor ask for."""

CLAIM_S = 1.0
"""So long after asking, who has waited longest has a window that others take nothing of. Not longer: what is
in its way there may be a reader who never comes."""

GIVE_BACK_AT_ONCE = 1 << 22
"""The kernel takes about a millisecond for so many bytes, and others wait for that."""

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


class SlabClosed(SlabFull):
    """Nobody takes of it any more."""


class _Waiting:
    """Somebody who waits for room; woken, perhaps for nothing, whenever something is released."""

    __slots__ = ("claims_until", "size", "woken")

    def __init__(self, size: int) -> None:
        self.size = size
        self.claims_until = monotonic() + CLAIM_S
        self.woken: SimpleQueue[None] = SimpleQueue()


class Slab:
    """The owner's side, of `size` bytes. Any thread may take; each place is its taker's to release.

    The lock is held for microseconds. A release takes no lock, as it may come from a destructor and so
    interrupt whoever has it: it leaves word, and the next who takes or tidies reads that.
    """

    def __init__(self, size: int) -> None:
        self.size = _rounded(size, mmap.PAGESIZE)
        self.descriptor = os.memfd_create("tercet", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, self.size)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, SEALS)
        self._map: mmap.mmap | None = mmap.mmap(self.descriptor, self.size)
        self._holes = Holes(self.size)
        self._lock = threading.Lock()
        self._released: SimpleQueue[tuple[int, int]] = SimpleQueue()  # its `put` may interrupt itself
        self._waiting: list[_Waiting] = []
        self._touched = self._lately = 0
        self._is_watched = False
        TIDIER.start()

    @property
    def free(self) -> int:
        """Bytes that nobody has, at least."""
        return self._holes.free

    def take(self, size: int, within_s: float) -> Place:
        """So many bytes in one piece, low ones first; waits for them, and not at all if `within_s` is 0.

        Who fits is not held up by who does not, but for a window of the longest waiting. Raises `SlabFull`.
        """
        size = _rounded(max(size, 1), ALIGNMENT)
        if size > self.size:
            raise self._full(size)
        with self._lock:
            place = self._taken(size)
            if place is not None:
                return place
            if within_s <= 0:
                raise self._full(size)
            own = _Waiting(size)
            self._waiting.append(own)
        try:
            return self._wait(own, monotonic() + within_s)
        finally:
            with self._lock:
                self._waiting.remove(own)
            self._wake()  # what it had claimed is for others now

    def tidy(self) -> bool:
        """Give back what lies above all that was in use since the last call; whether to call again.

        In pieces that are taken meanwhile, so that nobody waits for the kernel.
        """
        with self._lock:
            whole = self._map
            if whole is None:
                return False
            self._collect()
            keep = _rounded(max(self._lately, self._holes.in_use_below), mmap.PAGESIZE)
            self._lately = 0
            end = self._touched
            if end - keep >= WORTH_BYTES:
                self._touched = keep
            else:
                end = keep
        end = _rounded(end, mmap.PAGESIZE)
        for start in range(keep, end, GIVE_BACK_AT_ONCE):
            self._give_back(start, min(end - start, GIVE_BACK_AT_ONCE), whole)
        with self._lock:
            self._is_watched = self._map is not None and self._touched >= WORTH_BYTES
            return self._is_watched

    def close(self) -> None:
        """Give the memory back, once the last view of it is gone. Nobody takes any more."""
        with self._lock:
            os.close(self.descriptor)
            self._map = None
        self._wake()

    def _wait(self, own: _Waiting, until: float) -> Place:
        while True:
            with self._lock:  # anew even if nobody woke it: somebody's claim may be over
                place = self._taken(own.size, own)
            if place is not None:
                return place
            now = monotonic()
            if now >= until:
                raise self._full(own.size)
            with suppress(Empty):
                own.woken.get(timeout=min(until - now, CLAIM_S))

    def _taken(self, size: int, own: _Waiting | None = None) -> Place | None:
        if self._map is None:
            raise SlabClosed("the memory that is shared with the process of the model is closed")
        self._collect()
        start = self._holes.take(size, self._claimed(own) if self._waiting else None)
        if start is None:
            return None
        end = start + size
        self._lately = max(self._lately, end)
        if end > self._touched:
            self._touched = end
            if end >= WORTH_BYTES and not self._is_watched:
                self._is_watched = True
                TIDIER.watch(self)
        return Place(start, size, self._map, self._release)

    def _claimed(self, own: _Waiting | None) -> tuple[int, int] | None:
        """Where others than the one who has waited longest take nothing, while its claim holds."""
        first = self._waiting[0]
        if first is own or monotonic() >= first.claims_until:
            return None
        return self._holes.emptiest(first.size)

    def _collect(self) -> None:
        while not self._released.empty():
            self._holes.give(*self._released.get())

    def _release(self, stretch: tuple[int, int]) -> None:
        self._released.put(stretch)
        if self._waiting:
            self._wake()

    def _wake(self) -> None:
        for waiting in tuple(self._waiting):
            waiting.woken.put(None)

    def _give_back(self, start: int, size: int, whole: mmap.mmap) -> None:
        with self._lock:
            if self._map is None or not self._holes.take_at(start, size):
                self._touched = max(self._touched, start + size)  # somebody was faster: another time
                return
        try:
            whole.madvise(mmap.MADV_REMOVE, start, size)
        finally:
            self._release((start, size))

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
