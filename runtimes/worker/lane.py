"""One caller's line to a worker process: a question, then its answer, never two at once.

Messages are JSON behind their length, over a Unix stream socket; tensors lie in the slab, and a message
says where. Many lanes lead to one worker, each to a thread of its own there, so nobody waits for another's
answer.

    {"do": "open", "model": 1, "file": {...}, "samples": [...] | null}  ->  {"description": {...}}
    {"do": "run", "model": 1, "inputs": [...], "from": [start, size], "outputs": [...], "room": [start, size]}
                                          ->  {"outputs": [...]}, or {"short": size} if the room was too small
    {"do": "put", "room": [start, size]}  ->  {"outputs": [...]}, of the run before
    {"do": "close", "model": 1}           ->  {}
    any of them                           ->  {"failed": kind, "why": sentence}
"""

import socket
import struct
from time import monotonic
from typing import Any

import orjson

from runtimes.errors import (
    DeviceMissing,
    InputRefused,
    ModelBroken,
    RunFailed,
    RuntimeFault,
    RuntimeMissing,
    SignatureUnknown,
)

HEAD = struct.Struct("!I")
AT_ONCE = 1 << 16

MOST_BYTES = 1 << 24
"""Of one message: a model with a hundred thousand tensors says less of itself."""

KINDS: dict[str, type[RuntimeFault]] = {
    kind.__name__: kind
    for kind in (DeviceMissing, InputRefused, ModelBroken, RunFailed, RuntimeMissing, SignatureUnknown)
}
"""What can come back as a failure."""


class LaneLost(Exception):
    """The other side is gone; or it is there and must not be asked again: then `fault` is the rest of "it was
    killed, as it ..."."""

    def __init__(self, fault: str = "") -> None:
        super().__init__(fault or "the other side has gone")
        self.fault = fault


class LaneGarbled(LaneLost):
    """What came is no answer of ours: whatever runs there is not to be believed any more."""

    def __init__(self) -> None:
        super().__init__("gave an answer that makes no sense")


class Lane:
    """One side of it. Closed by its owner."""

    def __init__(self, own: socket.socket) -> None:
        self._socket = own

    def ask(self, message: Any, within_s: float) -> dict[str, Any]:
        """Raises `LaneLost`, or the `RuntimeFault` that came back."""
        try:
            self._socket.settimeout(within_s)
        except OSError:  # it was closed on our side
            raise LaneLost from None
        self.tell(message)
        answer = self.hear(within_s)
        if answer is None:
            raise LaneLost
        if "failed" in answer:
            kind = KINDS.get(str(answer["failed"]))
            if kind is None:
                raise LaneGarbled
            raise kind(str(answer.get("why")))
        return answer

    def tell(self, message: Any) -> None:
        """Raises `LaneLost`."""
        content = orjson.dumps(message)
        try:
            self._socket.sendall(HEAD.pack(len(content)) + content)
        except TimeoutError:
            raise _late(self._socket.gettimeout()) from None
        except OSError:
            raise LaneLost from None

    def hear(self, within_s: float | None = None) -> dict[str, Any] | None:
        """The next message; None once the other side is gone. Raises `LaneLost` if the whole of it takes too
        long, is too long, or is none."""
        until = None if within_s is None else monotonic() + within_s
        said, due = bytearray(), HEAD.size
        try:
            while len(said) < due:
                if said and until is not None:
                    self._socket.settimeout(max(0.001, until - monotonic()))
                more = self._socket.recv(AT_ONCE)
                if not more:
                    return None
                said += more
                if due == HEAD.size and len(said) >= HEAD.size:
                    due += HEAD.unpack_from(said)[0]
                    if due > MOST_BYTES:
                        raise LaneGarbled
        except TimeoutError:
            raise _late(within_s) from None
        except OSError:
            return None
        try:
            answer = orjson.loads(memoryview(said)[HEAD.size :])
        except orjson.JSONDecodeError:
            raise LaneGarbled from None
        if not isinstance(answer, dict):
            raise LaneGarbled
        return answer

    def close(self) -> None:
        self._socket.close()


def _late(within_s: float | None) -> LaneLost:
    assert within_s is not None  # without a limit nothing is late
    return LaneLost(f"did not answer within {within_s:g} s")
