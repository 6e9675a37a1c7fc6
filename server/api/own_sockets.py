"""The TCP sockets of this process, whoever opened them, as the process finds them among its own. Linux.

For what a library below us does not let be asked of its own: the gRPC servers open theirs by themselves.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

Peer = tuple[object, ...]


class Own(NamedTuple):
    """A TCP socket of this process: its descriptor, and who is at the other end; None of a listener."""

    number: int
    peer: Peer | None


def own_sockets(port: int) -> list[Own]:
    """Those that listen on this local port, or are connected to it. Raises `OSError` without Linux."""
    return [own for name in os.listdir("/proc/self/fd") if (own := _own_socket(int(name), port)) is not None]


def own_listeners(port: int) -> list[int]:
    """The descriptors of those that listen there. Raises `OSError` without Linux."""
    return [own.number for own in own_sockets(port) if own.peer is None]


def _own_socket(number: int, port: int) -> Own | None:
    with suppress(OSError), lent(number) as each:  # no socket, not connected, or closed since it was listed
        if each.family in (socket.AF_INET, socket.AF_INET6) and each.getsockname()[1] == port:
            listens = each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            return Own(number, None if listens else each.getpeername())
    return None


@contextmanager
def lent(number: int) -> Iterator[socket.socket]:
    """A socket object over a descriptor that stays its owner's. Raises `OSError` if that is no socket."""
    each = socket.socket(fileno=number)
    try:
        yield each
    finally:
        each.detach()
