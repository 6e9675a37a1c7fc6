"""Ports that stay the fleet's for as long as it lives, also while none of its processes listens on them.

A socket that is bound and does not listen gets no connection, and keeps everybody out who does not share
the port (SO_REUSEPORT), which another user's process cannot.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from server.supervisor.plan import LOOPBACK


class PortTaken(Exception):
    """The fleet cannot have the port; the sentence says which and why."""


@contextmanager
def reserved(address: str, port: int) -> Iterator[int]:
    """The port, or with 0 a free one, while the block lasts. Raises `PortTaken`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            with socket.socket(family, socket.SOCK_STREAM) as asker:  # nobody is there, sharing or not
                asker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                asker.bind((address, port))
                port = asker.getsockname()[1]
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            keeper.bind((address, port))
        except OSError as error:
            raise PortTaken(f"cannot listen on {address}:{port}: {os.strerror(error.errno or 0)}") from None
        yield port


def free_port() -> int:
    """A port on loopback that nobody has at the moment: for a process that is started at once."""
    with socket.create_server((LOOPBACK, 0)) as asker:
        port: int = asker.getsockname()[1]
        return port
