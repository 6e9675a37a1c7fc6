"""Tensors laid into a stretch of bytes, and found there again by whoever is told where.

One copy in; none out: what is read are views. BYTES tensors, which are objects on both sides, are the
exception: each element is its length, four bytes little-endian, and its content, and is made anew by who
reads.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from runtimes.slab import ALIGNMENT, Bytes
from runtimes.tensors import DATATYPES, Array, Datatype, Tensors, datatype_of

Told = list[Any]
"""One tensor in a message: name, datatype, shape, and where its bytes begin and how many they are."""

_LENGTH = struct.Struct("<I")


class Garbled(Exception):
    """What was told of tensors does not agree with itself, or with the bytes that there are."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Tensors that are ready to be laid down: what to tell of them, and how many bytes they need.

    `contents` has an array to copy for each, or the bytes of a BYTES tensor.
    """

    told: Sequence[Told]
    contents: Sequence[Array | bytes]
    size: int

    @classmethod
    def of(cls, tensors: Tensors) -> "Packed":
        """Raises `KeyError` for a dtype that the protocol does not have."""
        told, contents, end = [], [], 0
        for name, array in tensors.items():
            datatype = datatype_of(array)
            content = _joined(array) if array.dtype.hasobject else array
            size = len(content) if isinstance(content, bytes) else content.nbytes
            told.append([name, datatype, array.shape, end, size])
            contents.append(content)
            end += -(-size // ALIGNMENT) * ALIGNMENT
        return cls(told, contents, end)

    def lay(self, room: Bytes) -> None:
        """Copy all of it to the beginning of `room`, which is large enough."""
        for (_, _, shape, start, size), content in zip(self.told, self.contents, strict=True):
            if isinstance(content, bytes):
                room[start : start + size] = np.frombuffer(content, np.uint8)
            elif size:
                room[start : start + size].view(content.dtype).reshape(shape)[...] = content


def unpacked(told: Sequence[Told], room: Bytes) -> dict[str, Array]:
    """The tensors that lie in `room`, as views of it. Raises `Garbled`, whatever was told.

    What is read lies in `room` and nowhere else: who told it may be lying.
    """
    try:
        return {
            str(name): _read(DATATYPES[datatype], shape, _within(room, start, size))
            for name, datatype, shape, start, size in told
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Garbled(f"{type(error).__name__}: {error}") from None


def bytes_of(tensors: Mapping[str, Array]) -> int:
    """About what they need, without packing them."""
    return sum([array.nbytes + ALIGNMENT for array in tensors.values()])


def _within(room: Bytes, start: int, size: int) -> Bytes:
    if not 0 <= start <= start + size <= room.size:
        raise Garbled(f"{size} bytes at {start} are told of, and there are {room.size}")
    return room[start : start + size]


def _read(datatype: Datatype, shape: Sequence[int], room: Bytes) -> Array:
    if min(shape, default=0) < 0:
        raise Garbled(f"{list(shape)} is no shape")
    count = prod(shape)
    if datatype.dtype.hasobject:
        if count * _LENGTH.size > room.size:
            raise Garbled(f"{count} elements are told of, in {room.size} bytes")
        return _parted(room.tobytes(), shape)
    if count * datatype.itemsize != room.size:
        raise Garbled(f"{count} elements of {datatype.name} are told of, in {room.size} bytes")
    if not room.size:
        return np.empty(shape, datatype.dtype)
    return room.view(datatype.dtype).reshape(shape)


def _joined(array: Array) -> bytes:
    parts: list[bytes] = []
    for element in array.ravel():
        content = element.encode() if isinstance(element, str) else element
        parts += (_LENGTH.pack(len(content)), content)
    return b"".join(parts)


def _parted(content: bytes, shape: Sequence[int]) -> Array:
    array = np.empty(shape, np.object_)
    flat, at = array.reshape(-1), 0
    for number in range(array.size):
        if at + _LENGTH.size > len(content):
            raise Garbled("an element begins beyond the bytes that there are")
        (size,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size + size
        flat[number] = content[at - size : at]
    if at != len(content):
        raise Garbled(f"{len(content)} bytes are told of, and their elements have {at}")
    return array
