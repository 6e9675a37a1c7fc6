"""A socket that knows when what it receives came in, however late somebody looks.

A generator shares the processors with the server that it measures: what it computes or waits for is no
latency of the server's. Linux notes when bytes reach a socket (`SO_TIMESTAMPNS`, socket(7)); where a system
does not, they came when they were read.
"""

import socket
import struct
import sys
import time
from typing import Any

SO_TIMESTAMPNS = 35
"""Python does not know its number."""

TIMESPEC = struct.Struct("qq")
NS = 10**9


class StampedSocket(socket.socket):
    """`waited_s` is how long the newest bytes that were read had been there already."""

    __slots__ = ("waited_s",)

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.waited_s = 0.0
        if sys.platform == "linux":
            self.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """The next bytes, as any socket's; at most `size`."""
        data, notes, _, _ = self.recvmsg(size, socket.CMSG_SPACE(TIMESPEC.size), flags)
        self.waited_s = 0.0
        for level, kind, note in notes:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, ns = TIMESPEC.unpack(note)
                self.waited_s = max(0.0, (time.time_ns() - seconds * NS - ns) / NS)
        return data


def connected(host: str, port: int) -> StampedSocket:
    """To a server that listens there. Raises `OSError` if none does."""
    made = StampedSocket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.connect((host, port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
