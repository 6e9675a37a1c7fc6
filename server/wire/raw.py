"""Tensor bytes, both ways: little-endian, row-major, nothing between elements.

A BOOL element is one byte, 0 or 1. A BYTES element is its length as four bytes, then so many bytes.
Arrays are views of the caller's buffer, read-only where that is; BYTES elements are copies.
"""

import struct
from collections.abc import Sequence
from math import prod

import numpy as np

from server.domain.errors import InvalidRequest
from server.domain.tensors import Array, Datatype

Buffer = bytes | bytearray | memoryview

SMALL = 4096
"""Up to so many bytes, a copy costs less than a view of the array does."""

_PREFIX = struct.Struct("<I")


def written(shape: Sequence[int]) -> str:
    """A shape as sentences show it."""
    return "[" + ",".join(map(str, shape)) + "]"


def decode(
    buffer: Buffer, offset: int, size: int, datatype: Datatype, shape: Sequence[int], what: str
) -> Array:
    """The tensor in `size` bytes of `buffer` from `offset` on, which are there.

    `shape` has whole numbers of at least 0, however large. `what` names the tensor in a sentence,
    such as "input 'X' for model 'M'". Raises `InvalidRequest`.
    """
    count = prod(shape)
    if not datatype.itemsize:
        return shaped(_decode_bytes(buffer, offset, size, count, what), shape, what)
    if size != count * datatype.itemsize:
        raise InvalidRequest(
            f"input byte size mismatch for {what}. Expected {count * datatype.itemsize}, got {size} "
            f"({datatype.name} of shape {written(shape)})"
        )
    try:
        array: Array = np.ndarray(shape, datatype.dtype, buffer, offset)
    except ValueError as error:
        raise InvalidRequest(f"unexpected shape {written(shape)} for {what}: {error}") from None
    if datatype.name == "BOOL" and array.size and array.view(np.uint8).max() > 1:
        raise InvalidRequest(
            f"{what} is BOOL, whose bytes are 0 or 1, but holds {array.view(np.uint8).max()}"
        )
    return array


def shaped(flat: Array, shape: Sequence[int], what: str) -> Array:
    """`flat` in another shape of as many elements. Raises `InvalidRequest` for one that no array has."""
    try:
        return flat.reshape(shape)
    except ValueError as error:
        raise InvalidRequest(f"unexpected shape {written(shape)} for {what}: {error}") from None


def _decode_bytes(buffer: Buffer, offset: int, size: int, count: int, what: str) -> Array:
    if count * _PREFIX.size > size:  # before anything is set aside for them
        raise InvalidRequest(
            f"unexpected number of string elements for {what}. Expected {count}, "
            f"which take at least {count * _PREFIX.size} bytes, got {size} bytes"
        )
    are_views = type(buffer) is not bytes
    if are_views and size <= SMALL * count:  # slices of bytes are bytes: no object between for each
        buffer, offset, are_views = bytes(memoryview(buffer)[offset : offset + size]), 0, False
    elif are_views:
        buffer = memoryview(buffer)
    length_at = _PREFIX.unpack_from
    elements: list[Buffer] = []
    end, stop = offset, offset + size
    for index in range(count):
        start = end + _PREFIX.size
        if start > stop:
            raise InvalidRequest(
                f"incomplete string length for {what}: "
                f"element {index} of {count} begins at byte {end - offset} of {size}"
            )
        (length,) = length_at(buffer, end)
        end = start + length
        if end > stop:
            raise InvalidRequest(
                f"incomplete string data for {what}: element {index} of {count} "
                f"has {length} bytes, but only {stop - start} are left"
            )
        elements.append(buffer[start:end])
    if end != stop:
        raise InvalidRequest(
            f"unexpected number of string elements for {what}. "
            f"Expected {count}, but {stop - end} bytes follow them"
        )
    if are_views:
        elements = [bytes(element) for element in elements]
    return np.fromiter(elements, dtype=object, count=count)


def encode(array: Array) -> bytes | memoryview:
    """The bytes of a tensor: a view of a large contiguous array, a copy of any other.

    The array must stay as it is until a view has been sent.
    """
    if array.dtype.hasobject:
        return b"".join(_parts(array))
    if array.nbytes <= SMALL:
        return array.tobytes()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def pieces(array: Array) -> Sequence[Buffer]:
    """The same in parts, one behind the other, where that spares a copy: of BYTES elements that are large."""
    if array.dtype.hasobject:
        parts = _parts(array)
        if sum(map(len, parts)) > SMALL * array.size:
            return parts
        return [b"".join(parts)]
    return [encode(array)]


def _parts(array: Array) -> list[bytes]:
    """Each BYTES element behind its length."""
    parts: list[bytes] = []
    for element in array.reshape(-1).tolist():
        content = element if isinstance(element, bytes) else str(element).encode()
        parts.append(_PREFIX.pack(len(content)))
        parts.append(content)
    return parts


def one_element(content: bytes, shape: Sequence[int]) -> Array:
    """A BYTES tensor of one element, in a shape of ones."""
    elements: Array = np.empty(shape, dtype=object)
    elements.reshape(-1)[0] = content
    return elements
