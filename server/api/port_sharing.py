"""How one of several processes on a port leaves it, so that no client loses a request over it. Linux.

The processes listen with SO_REUSEPORT, and the kernel deals new connections out to them. A listener that is
closed takes along what waits to be accepted, so before that it goes deaf: a filter drops what would begin a
connection, and the client's kernel, which asks again after a second, meets one of the others. Then the
listener is closed, and the clients who are here are sent away: gRPC's by the frame GOAWAY, upon which they
finish their calls on this connection and make the next ones on another.

grpcio cannot be asked for this (docs/decisions/shared-ports.md), so it is done to the sockets that it has
opened (`own_sockets.py`).
"""

import asyncio
import ctypes
import os
import socket
import struct
from contextlib import closing, suppress
from fcntl import ioctl
from termios import TIOCOUTQ
from time import monotonic, sleep
from typing import NamedTuple

from server.api.own_sockets import Own, Peer, lent, own_listeners, own_sockets
from server.http2.frames import MOST_STREAM, NO_ERROR, goaway

DEAF_S = 0.05
"""For connections that were begun before, to be made and accepted: more than a round trip and a wake-up."""

QUIET_S = 0.002
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

GOAWAY = goaway(MOST_STREAM, NO_ERROR)
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
    while not own_listeners(port):  # noqa: ASYNC110  (nobody tells)
        await asyncio.sleep(QUIET_S)


async def stop_listening(port: int) -> None:
    """Close the process's listeners on this port, whoever opened them, once all that came is accepted.

    Their owner keeps its file descriptors, with sockets behind them on which nobody ever comes.
    """
    listeners = own_listeners(port)
    for number in listeners:
        with closing(socket.socket(fileno=os.dup(number))) as listener:
            deafen(listener)
    await asyncio.sleep(DEAF_S)
    for number in set(own_listeners(port)).intersection(listeners):
        with closing(socket.socket()) as silent:
            os.dup2(silent.fileno(), number, inheritable=False)


async def send_away(port: int, within_s: float) -> None:
    """Tell each gRPC client on this port that it is to go; back when all have gone, or time is over.

    The frame must not come into the middle of another. So it is written only where nothing has been written
    for some milliseconds though there was room: a frame that had not fitted would have gone on. A connection
    that never rests so long is not told.
    """
    until = monotonic() + within_s
    told: set[Peer | None] = set()
    while monotonic() < until and await asyncio.to_thread(_tell, port, told):  # noqa: ASYNC110
        await asyncio.sleep(LOOK_AGAIN_S)


def _tell(port: int, told: set[Peer | None]) -> bool:
    """Tell those that rest and are not in `told`, and put them there; whether anybody is here."""
    here = [own for own in own_sockets(port) if own.peer is not None]
    before = {own: _sending(own) for own in here if own.peer not in told}
    sleep(QUIET_S)
    for own, then in before.items():
        if then is None or then.waiting > then.room or _sending(own) != then:
            continue
        with suppress(OSError), closing(socket.socket(fileno=os.dup(own.number))) as connection:
            if connection.getpeername() == own.peer:  # and not another that has got the number since
                connection.send(GOAWAY, socket.MSG_DONTWAIT)
                told.add(own.peer)
    return bool(here)


def _sending(own: Own) -> Sending | None:
    """None of one that has gone, and from a kernel that does not say."""
    try:
        with lent(own.number) as each:
            (waiting,) = struct.unpack("i", ioctl(own.number, TIOCOUTQ, bytes(4)))
            info = each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
            room = each.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - waiting
            return Sending(struct.unpack_from("Q", info, BYTES_SENT_AT)[0], waiting, room)
    except (OSError, struct.error):
        return None
