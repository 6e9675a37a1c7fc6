"""A line beside a stream, for two processes of one host: messages by a Unix socket that has no file.

A message costs grpc.aio ten times what a socket takes for it. So a tier that can read its asker's memory, and
is on the asker's host then, offers a socket that takes that process and no other. What the two say goes by it
from then on, in order; the stream stays open beside it for signs of life, and who ends either ends both.

Where another process passes the stream's bytes on, such as a proxy that is to see them, there is no line.
"""

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from server.wire.heading import Broken

TAKEN_WITHIN_S = 5.0
"""An asker that wants the line comes at once."""

MOST_BYTES = 1 << 40
"""Of one message. What says that it has more is none."""

JOINED_BYTES = 1 << 16
"""A message up to this is copied behind its size: a write of its own would cost more."""

_SIZE = struct.Struct("<Q")
"""Before each message: its bytes."""

_CREDENTIALS = struct.Struct("3i")

Hear = Callable[[bytes], None]


class Line(asyncio.Protocol):
    """One end. Lives on the event loop; `close` or `cut` ends it.

    is_full   what was written lies here, as the other side reads slowly: wait for `resumed` with more
    """

    def __init__(self, hear: Hear, resumed: Callable[[], None]) -> None:
        """`hear` is called with each message; what it raises ends the line."""
        self.is_full = False
        self._hear = hear
        self._resumed = resumed
        self._transport: asyncio.Transport | None = None
        self._held: list[bytes] = []
        self._have = self._want = 0
        self._fault: Exception | None = None
        self._over = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether nothing more goes by it, be it that its end was not told of yet."""
        return self._transport is None or self._transport.is_closing()

    def write(self, message: bytes) -> None:
        """Without waiting. What is written to a line that is over is lost."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        size = len(message)
        if size > JOINED_BYTES:
            transport.write(_SIZE.pack(size))
            transport.write(message)
        else:
            transport.write(_SIZE.pack(size) + message)

    def close(self) -> None:
        """End it once all that was written has been sent."""
        if self._transport is not None:
            self._transport.close()

    def cut(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    def fail(self, fault: Exception) -> None:
        """End it now, for a reason of ours."""
        self._fault = self._fault or fault
        self.cut()

    async def ended(self) -> None:
        """Wait until it is over. Raises what `hear` has raised, or it was failed with."""
        await self._over.wait()
        if self._fault is not None:
            raise self._fault

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._held:
            self._held.append(data)
            self._have += len(data)
            if self._have < self._want:
                return
            data = b"".join(self._held)
            self._held.clear()
        try:
            at, end = 0, len(data)
            if end >= 8 and _SIZE.unpack_from(data)[0] == end - 8:  # one message, as mostly
                at = end
                self._hear(data[8:])
            while at + 8 <= end:
                (size,) = _SIZE.unpack_from(data, at)
                if size > MOST_BYTES:
                    raise Broken("what came by the line is no message")
                after = at + 8 + size
                if after > end:
                    break
                self._hear(data[at + 8 : after])
                at = after
        except Exception as fault:  # the other side's, or ours: whoever waits for the end hears of it
            self.fail(fault)
            return
        if at < end:
            self._held.append(data[at:])
            self._have = end - at
            self._want = 8 + size if self._have >= 8 else 8

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._resumed()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._over.set()


class Offer:
    """A tier's side until its asker has come: a socket that listens, under a name. `close` ends it."""

    def __init__(self) -> None:
        """Raises `OSError` where there are no such sockets."""
        self.name = secrets.token_hex(16)
        self._listening = socket.socket(socket.AF_UNIX)
        try:
            self._listening.bind(_address(self.name))
            self._listening.listen(4)
            self._listening.setblocking(False)
        except BaseException:
            self._listening.close()
            raise

    async def taken(self, pid: int, hear: Hear, resumed: Callable[[], None]) -> Line | None:
        """Wait for that process, and send away whoever else comes. None if it does not come."""
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKEN_WITHIN_S):
                while True:
                    come, _ = await loop.sock_accept(self._listening)
                    if _peer(come) != pid:
                        come.close()
                        continue
                    _, line = await loop.connect_accepted_socket(lambda: Line(hear, resumed), come)
                    return line
        return None

    def close(self) -> None:
        self._listening.close()


async def joined(name: str, pid: int, hear: Hear, resumed: Callable[[], None]) -> Line | None:
    """The asker's side: the line to the process that has offered it, or None if it cannot be had."""
    own = socket.socket(socket.AF_UNIX)
    try:
        own.setblocking(False)
        own.connect(_address(name))
        if _peer(own) != pid:
            raise ConnectionError
        _, line = await asyncio.get_running_loop().create_unix_connection(
            lambda: Line(hear, resumed), sock=own
        )
    except OSError:
        own.close()
        return None
    except BaseException:
        own.close()
        raise
    return line


def is_direct(seen: str, address: str) -> bool:
    """Whether who was `seen` so at `address` is this process itself, and nobody stands between."""
    try:
        here, there = int(seen.rpartition(":")[2]), int(address.rpartition(":")[2])
        return bool(_sockets(here, there) & _own_sockets())
    except (ValueError, OSError):
        return False


def _address(name: str) -> bytes:
    """In the abstract namespace: nothing is left of it behind its process."""
    return b"\0tercet-" + name.encode()


def _peer(connected: socket.socket) -> int:
    """The process at the other end."""
    told = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(told)[0])


def _sockets(here: int, there: int) -> set[str]:
    """The inodes of TCP connections from a local port to a remote one."""
    found = set()
    for family in ("tcp", "tcp6"):
        with suppress(FileNotFoundError), Path(f"/proc/self/net/{family}").open() as lines:
            next(lines)
            for line in lines:
                _, local, remote, *more = line.split()
                if int(local[-4:], 16) == here and int(remote[-4:], 16) == there:
                    found.add(more[6])
    return found


def _own_sockets() -> set[str]:
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{entry}")
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found
