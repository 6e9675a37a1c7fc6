"""A client that speaks HTTP/2 only as far as it must: it greets, and then does as little as a test wants."""

import socket
import struct
import time
from contextlib import suppress
from typing import NamedTuple

from tests.server_process import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
ACK = 1
MAX_CONCURRENT_STREAMS = 3
"""The name of a setting."""


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def written(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class Peer:
    """One connection, greeted. What does not come within `patience_s` is a `TimeoutError`."""

    def __init__(self, server: Server, patience_s: float = 10) -> None:
        host, _, port = server.grpc.partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=patience_s)
        self._socket.sendall(PREFACE + written(SETTINGS))
        self._read = b""

    def close(self) -> None:
        self._socket.close()

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def ping(self, times: int) -> None:
        """At once, as the connection may end before the last one otherwise."""
        self._socket.sendall(written(PING, b"8 octets") * times)

    def acknowledge(self, frame: Frame) -> None:
        self._socket.sendall(written(frame.kind, frame.payload, ACK))

    def frame(self) -> Frame | None:
        """The next one; None at the end of the connection."""
        while len(self._read) < 9 or len(self._read) < 9 + int.from_bytes(self._read[:3], "big"):
            try:
                received = self._socket.recv(65_536)
            except ConnectionResetError:
                return None
            if not received:
                return None
            self._read += received
        size = int.from_bytes(self._read[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self._read[3:9])
        payload, self._read = self._read[9 : 9 + size], self._read[9 + size :]
        frame = Frame(kind, flags, stream, payload)
        if kind == SETTINGS and not flags & ACK:
            with suppress(BrokenPipeError):  # it said so and left: what it said last is still to be read
                self._socket.sendall(written(SETTINGS, flags=ACK))
        return frame

    def until(self, kind: int, flags: int = 0) -> Frame:
        """The next frame of that kind. Fails if the connection ends before it."""
        while (frame := self.frame()) is not None:
            if (frame.kind, frame.flags) == (kind, flags):
                return frame
        raise AssertionError("the connection has ended")

    def ends_after_s(self) -> float:
        """How long the connection still lasts while we read and say nothing more."""
        began = time.monotonic()
        while self.frame() is not None:
            pass
        return time.monotonic() - began
