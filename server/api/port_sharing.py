"""How one of several processes on a port leaves it, so that no client loses a request over it. Linux.

The processes listen with SO_REUSEPORT, and the kernel deals new connections out to them. A listener that is
closed takes along what waits to be accepted, so before that it goes deaf: a filter drops what would begin a
connection, and the client's kernel, which asks again after a second, meets one of the others. Then the
listener is closed and the clients are sent away: over HTTP/1.1 by `Connection: close` with the next answer,
over gRPC by the frame GOAWAY, upon which they finish their calls here and make the next ones elsewhere.

Neither gRPC server below us can be asked to do this (docs/decisions/shared-ports.md), so it is done to the
sockets that they have opened, which the process finds among its own.
"""

import asyncio
import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from fcntl import ioctl
from termios import TIOCOUTQ
from time import monotonic
from typing import NamedTuple

DEAF_S = 0.05
"""For connections that were begun before, to be made and accepted: more than a round trip and a wake-up."""

LOOK_S = 0.002
LOOK_AGAIN_S = 0.01

SO_ATTACH_FILTER = 26
DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte of the flags
    (0x54, 0, 0, 0x12),  # of which SYN and ACK
    (0x15, 0, 1, 0x02),  # if it is SYN alone
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # else let all of it in
)
"""Classic BPF over a TCP segment (RFC 9293, 3.1), each instruction as struct sock_filter has it."""

GOAWAY = (8).to_bytes(3, "big") + b"\x07\x00" + struct.pack(">III", 0, 2**31 - 1, 0)
"""No error, and every call begun so far is taken: the first of two that RFC 9113, 6.8 has for a farewell."""

BYTES_SENT_AT = 200
TCP_INFO_BYTES = 256


class Sending(NamedTuple):
    """How far a connection is: `total` bytes were ever sent, `room` is left for more, in bytes.

    waiting   bytes that are written and that the client has not confirmed
    """

    total: int
    waiting: int
    room: int


def deafen(listener: socket.socket) -> None:
    """Let nobody begin a connection here any more."""
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in DROP_SYN)
    kept = ctypes.create_string_buffer(code)
    program = struct.pack("HP", len(DROP_SYN), ctypes.addressof(kept))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


async def until_listening(port: int) -> None:
    """Back when something in this process listens on the port."""
    while True:
        with _listeners(port) as listeners:
            if listeners:
                return
        await asyncio.sleep(LOOK_S)


async def stop_listening(port: int) -> None:
    """Close the process's listeners on this port, whoever opened them, once all that came is accepted.

    Their owner keeps its file descriptors, with sockets behind them on which nobody ever comes.
    """
    with _listeners(port) as listeners:
        for _, listener in listeners:
            deafen(listener)
        await asyncio.sleep(DEAF_S)
        for number, _ in listeners:
            with closing(socket.socket()) as silent:
                os.dup2(silent.fileno(), number, inheritable=False)


async def send_away(port: int, within_s: float) -> None:
    """Tell each gRPC client on this port that it is to go; back when all have gone, or time is over.

    The frame must not come into the middle of another. So it is written only where nothing has been written
    for some milliseconds though there was room: a frame that had not fitted would have gone on. A connection
    that never rests so long is not told.
    """
    until = monotonic() + within_s
    told: set[tuple[object, ...]] = set()
    while monotonic() < until:
        with _connections(port) as connections:
            if not connections:
                return
            before = {peer: _sending(each) for peer, each in connections.items() if peer not in told}
            await asyncio.sleep(LOOK_S)
            for peer, then in before.items():
                if then is not None and then.room > then.waiting and _sending(connections[peer]) == then:
                    with suppress(OSError):  # it has gone meanwhile
                        connections[peer].send(GOAWAY, socket.MSG_DONTWAIT)
                        told.add(peer)
        await asyncio.sleep(LOOK_AGAIN_S)


def _sending(connection: socket.socket) -> Sending | None:
    """None of one that has gone, and from a kernel that does not say."""
    try:
        (waiting,) = struct.unpack("i", ioctl(connection.fileno(), TIOCOUTQ, bytes(4)))
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        room = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - waiting
        return Sending(struct.unpack_from("Q", info, BYTES_SENT_AT)[0], waiting, room)
    except (OSError, struct.error):
        return None


@contextmanager
def _listeners(port: int) -> Iterator[list[tuple[int, socket.socket]]]:
    found = []
    try:
        for number, each in _own_sockets(port):
            if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.append((number, each))
            else:
                each.close()
        yield found
    finally:
        for _, each in found:
            each.close()


@contextmanager
def _connections(port: int) -> Iterator[dict[tuple[object, ...], socket.socket]]:
    found = {}
    try:
        for _, each in _own_sockets(port):
            try:
                found[each.getpeername()] = each
            except OSError:  # a listener, or nobody there any more
                each.close()
        yield found
    finally:
        for each in found.values():
            each.close()


def _own_sockets(port: int) -> Iterator[tuple[int, socket.socket]]:
    """Descriptors of this process whose TCP socket has this local port, each with a double to be closed."""
    folder = "/proc/self/fd"
    for name in os.listdir(folder):
        try:
            if not os.readlink(f"{folder}/{name}").startswith("socket:"):
                continue
            double = os.dup(int(name))
        except OSError:  # closed since it was listed
            continue
        each = socket.socket(fileno=double)
        try:
            ours = each.family in (socket.AF_INET, socket.AF_INET6) and each.getsockname()[1] == port
        except OSError:
            ours = False
        if ours:
            yield int(name), each
        else:
            each.close()
