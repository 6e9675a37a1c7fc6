"""A bundle with one request, or one answer, in a layout that never varies: protobuf to others, a struct here.

Of a bundle that is alone, protobuf's objects cost more than what they carry. What is told of requests and of
answers has a fixed size in `protos/stage.proto`, so the head of a request that is its tensors and nothing
else has the same bytes but for two numbers, and that of an answer of one stage but for seven. They are
written and read as such where tensors are small and their elements of one size; all others go as
`server.wire.bundle` says.
"""

from functools import lru_cache
from struct import Struct
from typing import NamedTuple

import numpy as np

from server.domain.stage import Span
from server.domain.tensors import Array, Tensors
from server.wire.heading import COLUMN, Heading
from server.wire.raw import SMALL
from server.wire.stage_numbers import STAGE_NAMES, STAGE_NUMBERS
from server.wire.varint import varint

ASKS = b"\x0a\x10\x2a\x08"
"""A head of 16 bytes, and in it `ids`, of which there is one."""

ANSWERS = b"\x0a\x34\x2a\x08"
"""A head of 52 bytes that begins likewise."""

_ROWS = b"\x32\x04"
"""Then `rows`, of which there is one."""

_SPAN, _QUEUE, _COMPUTE, _OF_RUN, _TRANSFER = b"\x6a\x22\x08", b"\x11", b"\x19", b"\x25", b"\x29"
"""Then, of an answer, `spans`, of which there is one: its tag, its size, and the tags of its fields."""

_ASKED = Struct("<Q2sI")
_ANSWERED = Struct("<Q2sI3sBcQcQcIcQ")
_ASKED_BYTES, _ANSWERED_BYTES = 4 + _ASKED.size, 4 + _ANSWERED.size
"""Of a head, with what it begins with."""

_TAGS = (_ROWS, _SPAN, _QUEUE, _COMPUTE, _OF_RUN, _TRANSFER)


class LoneRequest(NamedTuple):
    """A request that is its tensors and nothing else."""

    heading: Heading
    number: int
    rows: int
    tensors: dict[str, Array]


class LoneAnswer(NamedTuple):
    """What one stage has answered to one request."""

    number: int
    tensors: dict[str, Array]
    span: Span


def pack_request(heading: Heading, number: int, rows: int, tensors: Tensors) -> bytes | None:
    """None for one that has to be written as all others are."""
    columns = _pack(heading, rows, tensors)
    if columns is None:
        return None
    return b"".join((heading.prefix, ASKS, _ASKED.pack(number, _ROWS, rows), *columns))


def pack_answer(heading: Heading, number: int, rows: int, tensors: Tensors, span: Span) -> bytes | None:
    """None for one that has to be written as all others are."""
    columns = _pack(heading, rows, tensors)
    if columns is None:
        return None
    stage, queue_ns, compute_ns, of_run, transfer_ns = span
    before = number, _ROWS, rows, _SPAN, STAGE_NUMBERS[stage], _QUEUE, queue_ns
    said = _ANSWERED.pack(*before, _COMPUTE, compute_ns, _OF_RUN, of_run, _TRANSFER, transfer_ns)
    return b"".join((heading.prefix, ANSWERS, said, *columns))


def request_of(message: bytes, heading: Heading) -> LoneRequest | None:
    """The request in a message with this heading; None for what is to be read as all others are."""
    at = len(heading.prefix)
    if not message.startswith(ASKS, at) or len(message) < at + _ASKED_BYTES:
        return None
    number, tag, rows = _ASKED.unpack_from(message, at + 4)
    tensors = _columns(message, at + _ASKED_BYTES, heading, rows) if tag == _ROWS else None
    return None if tensors is None else LoneRequest(heading, number, rows, tensors)


def answer_of(message: bytes, heading: Heading) -> LoneAnswer | None:
    """The answer in a message with this heading; None for what is to be read as all others are."""
    at = len(heading.prefix)
    if not message.startswith(ANSWERS, at) or len(message) < at + _ANSWERED_BYTES:
        return None
    said = _ANSWERED.unpack_from(message, at + 4)
    number, rows_tag, rows, span_tag, stage, queue_tag, queue_ns, *rest = said
    compute_tag, compute_ns, run_tag, of_run, transfer_tag, transfer_ns = rest
    name = STAGE_NAMES.get(stage)
    if name is None or (rows_tag, span_tag, queue_tag, compute_tag, run_tag, transfer_tag) != _TAGS:
        return None
    tensors = _columns(message, at + _ANSWERED_BYTES, heading, rows)
    if tensors is None:
        return None
    return LoneAnswer(number, tensors, Span(name, queue_ns, compute_ns, of_run, transfer_ns))


def _pack(heading: Heading, rows: int, tensors: Tensors) -> list[bytes] | None:
    """The columns with what is before each."""
    if not heading.row_bytes:
        return None
    columns: list[bytes] = []
    for column, array in zip(heading.columns, tensors.values(), strict=True):
        size = column.bytes * rows
        if size > SMALL or size != array.nbytes:
            return None
        columns += (_before(size), array.tobytes())
    return columns


def _columns(message: bytes, at: int, heading: Heading, rows: int) -> dict[str, Array] | None:
    """The tensors from there on to the end, views of the message."""
    if not heading.row_bytes:
        return None
    tensors: dict[str, Array] = {}
    end = len(message)
    for name, datatype, shape, of_row, _ in heading.columns:
        size = of_row * rows
        before = _before(size)
        if not message.startswith(before, at):
            return None
        start = at + len(before)
        at = start + size
        if at > end:
            return None
        tensors[name] = np.ndarray((rows, *shape), datatype.dtype, message, start)
    return tensors if at == end else None


@lru_cache(maxsize=1024)
def _before(size: int) -> bytes:
    """What stands before a column of so many bytes."""
    return COLUMN + varint(size)
