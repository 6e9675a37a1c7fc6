"""Uvicorn as a task of ours: it owns no signal and no loop, and its end is our decision.

The socket is bound before anything is loaded, so a taken port is a sentence at once, and port 0
can be told to whoever asks.
"""

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn

from server.api.backlog import BACKLOG
from server.api.departure import HttpDeparture
from server.api.loop_tls import LoopTls


class PortTaken(Exception):
    """The address cannot be listened on; the sentence names it and says why."""


def bind(address: str, port: int, *, shared: bool = False) -> socket.socket:
    """A TCP socket on this address, if `shared` beside those of others who share it. Raises `PortTaken`."""
    if shared and sys.platform != "linux":
        raise PortTaken(f"cannot share {address}:{port} with other processes: that is done on Linux alone")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"cannot listen on {address}:{port}: {error.strerror}") from None
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """Serves until it is told to stop. Uvicorn's own looks for that ten times a second, which is most of what
    an idle process of ours would do; the headers that it renews meanwhile are none of ours."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._stopping.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the app's."""
        yield


class _TlsServer(_Server):
    """Uvicorn leaves the times of TLS to the loop, which waits half a minute for a client's farewell."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event, tls: LoopTls) -> None:
        super().__init__(config, stopping)
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        kind: Any = self.config.http_protocol_class
        made = partial(kind, config=self.config, server_state=self.server_state, app_state={})
        self.servers = [
            await loop.create_server(
                made,
                sock=each,
                backlog=self.config.backlog,
                **self._tls.for_server(),
            )
            for each in sockets or ()
        ]
        self.started = True


async def serve_http(
    app: Any,
    protocol: Any,
    listener: socket.socket,
    stopping: asyncio.Event,
    *,
    keep_alive_s: float,
    finish_within_s: float,
    tls: LoopTls | None = None,
    departure: HttpDeparture | None = None,
) -> None:
    """Serve an ASGI app until `stopping` is set; then close the listener and finish what is in flight.

    `protocol` makes uvicorn's protocol of a connection, or is uvicorn's name of one. A `departure` is
    shown who is here.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=max(1, int(keep_alive_s)),
        timeout_graceful_shutdown=max(1, int(finish_within_s)),
        backlog=BACKLOG,
    )
    server = _Server(config, stopping) if tls is None else _TlsServer(config, stopping, tls)
    if departure is not None:
        departure.see(server.server_state.connections)
    await server.serve(sockets=[listener])
