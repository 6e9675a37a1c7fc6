"""Large tensors between two processes of one host: laid into memory that the other side reads, once.

Each side of a stream offers memory of its own, a file without a name that the other opens through `/proc`.
Where that cannot be done, as between hosts, users or containers, the bytes go on the wire. Nothing is left
when either side is killed.
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self
from weakref import finalize

import numpy as np

from protos import stage_pb2 as pb
from server.domain.shared import Place, Slab, SlabFull, map_to_read
from server.domain.tensors import Tensors
from server.observe.copies import Copies
from server.wire.bundle import Laid, lay
from server.wire.heading import Broken
from server.wire.raw import Buffer

WORTH_BYTES = 1 << 16
"""A smaller column goes on the wire: it is copied sooner than it is passed by."""

TOKEN_BYTES = 16


class Arena:
    """Our memory, of so many bytes; they take room once they are written to.

    is_read   whether the other side has opened it
    laid      bytes so far
    """

    def __init__(self, size: int) -> None:
        self._slab = Slab(size)
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self._first = self._slab.take(TOKEN_BYTES, within_s=0)
        self._first.view[:TOKEN_BYTES] = np.frombuffer(self._token, np.uint8)
        self.is_read = False
        self.laid = 0

    def offer(self) -> pb.Arena:
        return pb.Arena(pid=os.getpid(), fd=self._slab.descriptor, size=self._slab.size, token=self._token)

    def lay(self, head: pb.Head, columns: Sequence[Laid]) -> tuple[Sequence[Laid], list[Place]]:
        """Put the large columns here, as long as there is room: what is left for the wire, and the places.

        `head` is told where they are; the places are the caller's to release.
        """
        if not self.is_read:
            return columns, []
        left: list[Laid] = []
        places: list[Place] = []
        for number, column in enumerate(columns):
            place = self._take(column.size)
            if place is None:
                left.append(column)
                continue
            view, at = place.view, 0
            for piece in column.pieces:
                view[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
                at += len(piece)
            head.regions.add(at=number, start=place.start, size=column.size)
            places.append(place)
            self.laid += column.size
        return left, places

    def close(self) -> None:
        self._slab.close()

    def _take(self, size: int) -> Place | None:
        if size < WORTH_BYTES:
            return None
        try:
            return self._slab.take(size, within_s=0)
        except SlabFull:
            return None


class Theirs:
    """The other side's memory, to read."""

    def __init__(self, descriptor: int) -> None:
        self._bytes = map_to_read(descriptor)

    @classmethod
    def open(cls, offer: pb.Arena) -> Self | None:
        """None where it is not on this host, or not what it says."""
        path = Path(f"/proc/{offer.pid}/fd/{offer.fd}")
        try:
            if not os.readlink(path).startswith("/memfd:tercet"):
                return None
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            is_fixed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
            if not is_fixed or os.fstat(descriptor).st_size != offer.size or offer.size < TOKEN_BYTES:
                return None
            theirs = cls(descriptor)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return theirs if theirs._bytes[:TOKEN_BYTES].tobytes() == offer.token else None

    def column(self, region: int, size: int, free: Callable[[int], None] | None) -> memoryview:
        """The bytes of a region; `free` is called with it, from any thread, when nobody has them any more."""
        if region + size > len(self._bytes):
            raise Broken("a tensor lies beyond the memory that is shared")
        view = np.frombuffer(self._bytes.data, np.uint8, size, region)
        if free is not None:
            finalize(view, free, region).atexit = False
        return view.data


def lay_out(
    head: pb.Head, requests: Sequence[Tensors], ours: Arena | None, copies: Copies
) -> tuple[Sequence[Laid], Sequence[Place]]:
    """The columns of a bundle for the wire, and where those lie that are in our memory.

    `head` is told of the latter; their places are the caller's to release.
    """
    columns: Sequence[Laid] = lay(requests)
    wire = sum([column.size for column in columns])
    places: Sequence[Place] = ()
    if wire >= WORTH_BYTES and ours is not None:
        before = ours.laid
        columns, places = ours.lay(head, columns)
        copies.add("shared", ours.laid - before)
        wire -= ours.laid - before
    copies.add("wire", wire)
    return columns, places


def columns_of(
    head: pb.Head,
    columns: Sequence[Buffer],
    theirs: Theirs | None,
    free: Callable[[int], None] | None = None,
) -> Sequence[Buffer]:
    """Every column of a bundle, wherever it lies. Raises `Broken`."""
    if not head.regions:
        return columns
    if theirs is None:
        raise Broken("a tensor lies in memory that is not shared")
    found = list(columns)
    for region in head.regions:
        if region.at > len(found):
            raise Broken("a bundle has fewer columns than tensors")
        found.insert(region.at, theirs.column(region.start, region.size, free))
    return found
