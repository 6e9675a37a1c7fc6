"""A wire between a client and a server, with a meter on it."""

import asyncio
import threading
from types import TracebackType
from typing import Self


class Relay:
    """Passes on what comes, on a thread of its own, and counts what the server says."""

    def __init__(self, server: str) -> None:
        self.answered_bytes = 0
        self.address = ""
        self._server = server
        self._begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        self._begun.set()
        await self._over.wait()
        server.close()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._server.split(":"))
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pass_on(reader, to_server, 0))
                ways.create_task(self._pass_on(from_server, writer, 1))
        finally:
            to_server.close()
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: int) -> None:
        while data := await reader.read(65_536):
            self.answered_bytes += counts * len(data)
            writer.write(data)
            await writer.drain()
        writer.close()
