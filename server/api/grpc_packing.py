"""Good answers of gRPC, packed for clients that can unpack them, as gRPC's specification has it."""

import asyncio
import zlib
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any

from server.http2.calls import Line

EFFORT: Mapping[str, int] = MappingProxyType({"low": 1, "medium": 6, "high": 9})
"""zlib's, by Triton's words for it."""

WINDOW_BITS: Mapping[bytes, int] = MappingProxyType({b"gzip": 31, b"deflate": 15})
"""What can be packed and unpacked, the first of them by preference."""

WORTH_PACKING = 512
AT_ONCE_BYTES = 16_384
"""More than that is packed on a thread: at the highest effort it may take many milliseconds."""


def best_of(accepted: bytes) -> bytes:
    """Of the encodings in a `grpc-accept-encoding`; empty for none that we have."""
    names = [name.strip() for name in accepted.split(b",")]
    return next((name for name in WINDOW_BITS if name in names), b"")


class PackedLine:
    """A line, for one call whose good answer is to be packed if it is shorter then."""

    __slots__ = ("_aside", "_effort", "_encoding", "_line", "peer")

    def __init__(
        self, line: Line, encoding: bytes, effort: int, aside: Callable[[Coroutine[Any, Any, None]], object]
    ) -> None:
        """`aside` sees to it that a large answer is packed and goes out."""
        self._line = line
        self._encoding = encoding
        self._effort = effort
        self._aside = aside
        self.peer = line.peer

    def answer(self, stream: int, message: bytes) -> bool:
        if len(message) < WORTH_PACKING:
            return self._line.answer(stream, message)
        if len(message) <= AT_ONCE_BYTES:
            return self._send(stream, message, self._packed(message))
        self._aside(self._answer_later(stream, message))
        return True

    def fail(self, stream: int, fields: bytes) -> None:
        self._line.fail(stream, fields)

    async def _answer_later(self, stream: int, message: bytes) -> None:
        self._send(stream, message, await asyncio.to_thread(self._packed, message))

    def _packed(self, message: bytes) -> bytes:
        machine = zlib.compressobj(self._effort, zlib.DEFLATED, WINDOW_BITS[self._encoding])
        return machine.compress(message) + machine.flush()

    def _send(self, stream: int, message: bytes, packed: bytes) -> bool:
        if len(packed) < len(message):
            return self._line.answer_packed(stream, packed, self._encoding)
        return self._line.answer(stream, message)
