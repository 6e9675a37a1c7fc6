"""How a door leaves a shared port: nobody new comes, and who is here is sent to the other processes.

It ends when every client has gone, or when the time is over; what is still here then is drained as ever.
"""

import asyncio
from collections.abc import Set
from contextlib import suppress
from typing import Any, Protocol

from server.api.grpc_front import InferFront
from server.api.port_sharing import send_away, stop_listening
from server.api.short_way import ShortWay

LOOK_AGAIN_S = 0.01


class Departure(Protocol):
    """One door's way out."""

    async def leave(self, within_s: float) -> None:
        """Take up to `within_s` seconds, and a moment for those who were just coming in."""
        ...


class HttpDeparture:
    """Each connection is told with its next answer that it ends. One that asks nothing more stays."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: Set[Any] = frozenset()

    def see(self, connections: Set[Any]) -> None:
        """`connections` are the open ones at any time."""
        self._connections = connections

    async def leave(self, within_s: float) -> None:
        await stop_listening(self._port)
        for connection in list(self._connections):
            if isinstance(connection, ShortWay):
                connection.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._connections:  # noqa: ASYNC110  (nobody tells)
                    await asyncio.sleep(LOOK_AGAIN_S)


class FrontDeparture:
    """Each connection is told by the front itself: it ends with its last call."""

    def __init__(self, port: int, front: InferFront) -> None:
        self._port = port
        self._front = front

    async def leave(self, within_s: float) -> None:
        await stop_listening(self._port)
        await self._front.send_away(within_s)


class GrpcDeparture:
    """Each connection of grpcio is sent GOAWAY: its client finishes its calls on it and makes no more.

    Under TLS nobody but gRPC can write there, and it says so itself once it is told to stop.
    """

    def __init__(self, port: int, *, is_plain: bool) -> None:
        self._port = port
        self._is_plain = is_plain

    async def leave(self, within_s: float) -> None:
        await stop_listening(self._port)
        if self._is_plain:
            await send_away(self._port, within_s)
