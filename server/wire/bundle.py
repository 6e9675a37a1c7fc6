"""Bundles between tiers: many requests of one version, or their answers, as one message in columns.

`protos/stage.proto` says what they mean. The head is protobuf's own work; the columns behind it are laid
and viewed here, so that a tensor is copied once into the message and not at all out of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from protos import stage_pb2 as pb
from server.domain.errors import InvalidRequest
from server.domain.tensors import Array, Tensors
from server.wire import raw
from server.wire.heading import COLUMN, HEAD, NO_HEADING, Broken, Heading, heading_of
from server.wire.lone import LoneAnswer, LoneRequest, answer_of, request_of
from server.wire.varint import varint

HEAD_TAG, COLUMN_TAG = HEAD[0], COLUMN[0]
"""Of the two fields of a `Bundle`."""


class Bundle(NamedTuple):
    """A message that was read: its heading, what is new with it, and its columns: views, but small ones."""

    heading: Heading
    head: pb.Head
    columns: Sequence[raw.Buffer]


class Laid(NamedTuple):
    """A column that is to be written: its bytes in pieces, one after the other."""

    size: int
    pieces: Sequence[raw.Buffer]


class Batch(NamedTuple):
    """Tensors of several requests as they lie in a bundle.

    stacked   each has one leading dimension for the requests, and no rows of its own
    rows      of each request; all 1 where it is stacked
    """

    tensors: dict[str, Array]
    stacked: bool
    rows: Sequence[int]

    def cut(self) -> Iterator[Tensors]:
        """Those of each request, in order: views."""
        named = list(self.tensors.items())
        if len(named) == 1 and not self.stacked:  # as with most models: no loop inside the loop
            ((name, array),) = named
            start = 0
            for count in self.rows:
                yield {name: array[start : start + count]}
                start += count
            return
        if self.stacked:
            for at in range(len(self.rows)):
                yield {name: array[at, ...] for name, array in named}
            return
        start = 0
        for count in self.rows:
            end = start + count
            yield {name: array[start:end] for name, array in named}
            start = end


def lay(requests: Sequence[Tensors]) -> list[Laid]:
    """The columns of requests of one heading, in order: views of their arrays, where that can be."""
    if len(requests) == 1:
        return [_laid(raw.pieces(array)) for array in requests[0].values()]
    columns = []
    for name, first in requests[0].items():
        if first.nbytes <= raw.SMALL and not first.dtype.hasobject:
            column = b"".join([tensors[name].tobytes() for tensors in requests])
            columns.append(Laid(len(column), (column,)))
        else:
            columns.append(_laid([piece for tensors in requests for piece in raw.pieces(tensors[name])]))
    return columns


def pack(head: pb.Head, heading: Heading = NO_HEADING, columns: Iterable[Laid] = ()) -> bytes:
    """One message: the heading, what is new with it, and the columns that lie in no region, in order."""
    said = head.SerializeToString()
    message: list[raw.Buffer] = [heading.prefix, HEAD, varint(len(said)), said]
    for size, pieces in columns:
        message += (COLUMN, varint(size), *pieces)
    return b"".join(message)


class Reader:
    """Of what comes by one stream: a bundle's heading is mostly that of the one before."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = NO_HEADING

    def unpack(self, message: bytes) -> Bundle:
        """Raises `Broken`."""
        heading = self._heading(message)
        if heading is None:
            return _as_others_write(message)
        at = len(heading.prefix)
        if len(message) - at > raw.SMALL:
            return _viewed(heading, message, at)
        try:  # to copy it costs less than to look at it here
            rest = pb.Bundle.FromString(message[at:])
        except DecodeError as error:
            raise Broken(f"a bundle cannot be read: {error}") from None
        if not rest.HasField("head"):
            return _as_others_write(message)
        return Bundle(heading, rest.head, rest.columns[:])

    def lone_request(self, message: bytes) -> LoneRequest | None:
        """What this is, if it is one; else None, and it is for `unpack`. Raises `Broken`."""
        heading = self._heading(message)
        return None if heading is None else request_of(message, heading)

    def lone_answer(self, message: bytes) -> LoneAnswer | None:
        """What this is, if it is one; else None, and it is for `unpack`. Raises `Broken`."""
        heading = self._heading(message)
        return None if heading is None else answer_of(message, heading)

    def _heading(self, message: bytes) -> Heading | None:
        """That of a message as we write them; None of another, be it good protobuf or not."""
        last = self._last
        if message.startswith(last.prefix):
            return last
        try:
            size, start = _varint(message, 1)
        except IndexError:
            return None
        if message[0] != HEAD_TAG or start + size > len(message):
            return None
        heading = heading_of(message[start : start + size])
        if not message.startswith(heading.prefix):  # its size could have been said in fewer bytes
            return None
        self._last = heading
        return heading


def _viewed(heading: Heading, message: bytes, at: int) -> Bundle:
    """The same of a large one, whose columns are not copied; its heading ends before `at`."""
    head: pb.Head | None = None
    columns: list[memoryview] = []
    whole, end = memoryview(message), len(message)
    try:
        while at < end:
            tag = message[at]
            size, start = _varint(message, at + 1)
            at = start + size
            if tag == COLUMN_TAG:
                columns.append(whole[start:at])
            elif tag == HEAD_TAG and head is None:
                head = pb.Head.FromString(message[start:at])
            else:
                return _as_others_write(message)
    except (DecodeError, IndexError) as error:
        raise Broken(f"a bundle cannot be read: {error}") from None
    if at != end:
        raise Broken("a field of a bundle is longer than its message")
    return _as_others_write(message) if head is None else Bundle(heading, head, columns)


def _as_others_write(message: bytes) -> Bundle:
    """One that is good protobuf, and not as we write it. Raises `Broken`."""
    try:
        bundle = pb.Bundle.FromString(message)
    except DecodeError as error:
        raise Broken(f"a bundle cannot be read: {error}") from None
    head = bundle.head
    return Bundle(Heading.of(head), head, bundle.columns[:])


def read(heading: Heading, head: pb.Head, columns: Sequence[raw.Buffer]) -> Batch:
    """The tensors of a bundle, over the bytes of its columns: BYTES elements alone are copies.

    Raises `Broken` for columns that do not fit the heading and the rows.
    """
    rows: Sequence[int] = head.rows[:]
    if len(rows) != len(head.ids):
        raise Broken("a bundle names as many rows as it has not requests")
    if len(columns) != len(heading.columns):
        raise Broken("a bundle has not as many columns as tensors")
    total = len(rows) if heading.stacked else sum(rows)
    tensors: dict[str, Array] = {}
    for (name, datatype, shape, size, what), column in zip(heading.columns, columns, strict=True):
        if size and len(column) == size * total:
            tensors[name] = np.ndarray((total, *shape), datatype.dtype, column)
            continue
        try:
            tensors[name] = raw.decode(column, 0, len(column), datatype, (total, *shape), what)
        except InvalidRequest as error:
            raise Broken(str(error)) from None
    return Batch(tensors, heading.stacked, rows)


def nbytes(tensors: Tensors) -> int:
    """About as many as they take on the wire."""
    return sum(
        [
            sum(map(len, array.reshape(-1).tolist())) if array.dtype == np.object_ else array.nbytes
            for array in tensors.values()
        ]
    )


def _laid(pieces: Sequence[raw.Buffer]) -> Laid:
    return Laid(len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces)), pieces)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it. Raises `IndexError` or `Broken`."""
    number = shift = 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise Broken("a number in a bundle is too long")
