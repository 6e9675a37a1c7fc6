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

KINDS: dict[str, type[RuntimeFault]] = {
    kind.__name__: kind
    for kind in (DeviceMissing, InputRefused, ModelBroken, RunFailed, RuntimeMissing, SignatureUnknown)
}
"""What can come back as a failure."""


class LaneLost(Exception):
    """The other side is gone, or did not answer in time (`is_late`)."""

    def __init__(self, is_late: bool = False) -> None:
        super().__init__("no answer in time" if is_late else "the other side has gone")
        self.is_late = is_late


class Lane:
    """One side of it. Closed by its owner."""

    def __init__(self, own: socket.socket) -> None:
        self._socket = own

    def ask(self, message: Any, within_s: float) -> dict[str, Any]:
        """Raises `LaneLost`, or the `RuntimeFault` that came back."""
        self._socket.settimeout(within_s)
        self.tell(message)
        answer = self.hear()
        if answer is None:
            raise LaneLost
        if "failed" in answer:
            raise KINDS[answer["failed"]](answer["why"])
        return answer

    def tell(self, message: Any) -> None:
        """Raises `LaneLost`."""
        content = orjson.dumps(message)
        try:
            self._socket.sendall(HEAD.pack(len(content)) + content)
        except TimeoutError:
            raise LaneLost(is_late=True) from None
        except OSError:
            raise LaneLost from None

    def hear(self) -> dict[str, Any] | None:
        """The next message; None once the other side is gone. Raises `LaneLost` if it takes too long."""
        try:
            said = b""
            while len(said) < HEAD.size or len(said) < HEAD.size + HEAD.unpack_from(said)[0]:
                more = self._socket.recv(AT_ONCE)
                if not more:
                    return None
                said += more
        except TimeoutError:
            raise LaneLost(is_late=True) from None
        except OSError:
            return None
        answer: dict[str, Any] = orjson.loads(said[HEAD.size :])
        return answer

    def close(self) -> None:
        self._socket.close()
