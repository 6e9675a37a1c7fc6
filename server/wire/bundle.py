"""Bundles between tiers: many requests of one version, or their answers, as one message in columns.

`protos/stage.proto` says what they mean. The head is protobuf's own work; the columns behind it are laid
and viewed here, so that a tensor is copied once into the message and not at all out of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from protos import stage_pb2 as pb
from server.domain.errors import InvalidRequest
from server.domain.tensors import DATATYPES, Array, Tensors, datatype_of
from server.wire import raw
from server.wire.varint import varint

HEAD, COLUMN = b"\x0a", b"\x12"
"""Tags of the two fields of a `Bundle`."""


class Broken(Exception):
    """A message that is no bundle: the other side is at fault, and nothing of it can be answered."""


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


def lay(head: pb.Head, requests: Sequence[Tensors], stacked: bool) -> list[raw.Buffer]:
    """Note in `head` what the columns are, and give their bytes in order: views, where that can be.

    The requests have the same names and, but for their rows, the same shapes.
    """
    head.stacked = stacked
    pieces: list[raw.Buffer] = []
    for name, first in requests[0].items():
        shape = first.shape if stacked else first.shape[1:]
        tensor = head.tensors.add(name=name, datatype=datatype_of(first), shape=shape)
        if len(requests) > 1 and first.nbytes <= raw.SMALL and not first.dtype.hasobject:
            column = b"".join([tensors[name].tobytes() for tensors in requests])
            pieces.append(column)
            tensor.size = len(column)
            continue
        size = 0
        for tensors in requests:
            for piece in raw.pieces(tensors[name]):
                pieces.append(piece)
                size += len(piece)
        tensor.size = size
    return pieces


def pack(head: pb.Head, pieces: Iterable[raw.Buffer] = ()) -> bytes:
    """One message. `pieces` are the bytes of the head's tensors that have no region, one after the other."""
    said = head.SerializeToString()
    message: list[raw.Buffer] = [HEAD, varint(len(said)), said]
    left = iter(pieces)
    for tensor in head.tensors:
        if tensor.HasField("region"):
            continue
        message += (COLUMN, varint(tensor.size))
        missing = tensor.size
        while missing:
            piece = next(left)
            message.append(piece)
            missing -= len(piece)
    return b"".join(message)


def unpack(message: bytes) -> tuple[pb.Head, list[memoryview]]:
    """The head and the columns, which are views. Raises `Broken`."""
    whole = memoryview(message)
    head: pb.Head | None = None
    columns: list[memoryview] = []
    at, end = 0, len(message)
    try:
        while at < end:
            tag, size = message[at], message[at + 1]
            if size < 0x80:
                at += 2
            else:
                size, at = _varint(message, at + 1)
            if size > end - at:
                raise Broken("a field of a bundle is longer than its message")
            if tag == HEAD[0]:
                head = pb.Head.FromString(message[at : at + size])
            elif tag == COLUMN[0]:
                columns.append(whole[at : at + size])
            else:
                raise Broken(f"a bundle has an unknown field, with the tag {tag}")
            at += size
    except (DecodeError, IndexError) as error:
        raise Broken(f"a bundle cannot be read: {error}") from None
    if head is None:
        raise Broken("a bundle has no head")
    return head, columns


def read(head: pb.Head, columns: Sequence[raw.Buffer]) -> Batch:
    """The tensors of a bundle, over the bytes of its columns: BYTES elements alone are copies.

    Raises `Broken` for columns that do not fit the head.
    """
    rows: Sequence[int] = head.rows
    if len(rows) != len(head.ids):
        raise Broken("a bundle names as many rows as it has not requests")
    if len(columns) != len(head.tensors):
        raise Broken("a bundle has not as many columns as tensors")
    total = len(rows) if head.stacked else sum(rows)
    tensors: dict[str, Array] = {}
    for tensor, column in zip(head.tensors, columns, strict=True):
        datatype = DATATYPES.get(tensor.datatype)
        own = tuple(tensor.shape)
        if datatype is None or (own and min(own) < 0):
            raise Broken(f"tensor '{tensor.name}' of a bundle has a datatype or shape that there is not")
        shape = (total, *own)
        if prod(shape) > 2**48:
            raise Broken(f"tensor '{tensor.name}' of a bundle is larger than anything can be")
        try:
            tensors[tensor.name] = raw.decode(
                column, 0, len(column), datatype, shape, f"tensor '{tensor.name}'"
            )
        except InvalidRequest as error:
            raise Broken(str(error)) from None
    return Batch(tensors, head.stacked, rows)


def column_key(tensors: Tensors, stacked: bool) -> tuple[object, ...]:
    """Equal for those that can lie in one bundle."""
    return tuple(
        [(name, array.dtype, array.shape if stacked else array.shape[1:]) for name, array in tensors.items()]
    )


def nbytes(tensors: Tensors) -> int:
    """About as many as they take on the wire."""
    return sum(
        [
            sum(map(len, array.reshape(-1).tolist())) if array.dtype == np.object_ else array.nbytes
            for array in tensors.values()
        ]
    )


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
