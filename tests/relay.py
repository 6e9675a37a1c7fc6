"""A wire between a client and a server, which a test can read, cut, slow down or have go dead."""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

CHUNK = 65_536


class Relay:
    """Passes on what comes, on a thread of its own.

    answered_bytes   what the server has said
    is_down          refuse whoever comes, and cut who is there with the next bytes
    is_dead          accept whoever comes and pass nothing on, either way, until it is not dead any more
    delay_s          how long every piece is held up, either way
    cuts             so many answers are still to be cut
    cut_after        bytes of an answer that come through before it is cut
    """

    def __init__(self, server: str) -> None:
        self.answered_bytes = 0
        self.is_down = self.is_dead = False
        self.delay_s = 0.0
        self.cuts = 0
        self.cut_after = 100_000
        self.address = ""
        self._server = server
        self._open: set[asyncio.StreamWriter] = set()
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

    def cut(self) -> None:
        """Reset every connection, now."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        self._begun.set()
        await self._over.wait()
        server.close()
        self._cut()
        while self._open:  # noqa: ASYNC110  (those that were held up see it at their next look)
            await asyncio.sleep(0.01)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        to_server: asyncio.StreamWriter | None = None
        try:
            await self._hold_up()
            if self.is_down:
                return
            from_server, to_server = await asyncio.open_connection(*self._server.split(":"))
            self._open.add(to_server)
            answering = asyncio.create_task(self._answer(from_server, writer, to_server))
            try:
                await self._pass_on(reader, to_server)
            finally:
                to_server.close()
                await answering
        except OSError:
            pass
        finally:
            for each in (writer, to_server):
                if each is not None:
                    self._open.discard(each)
                    each.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._hold_up()
                if self.is_down:
                    break
                to_server.write(data)
                await to_server.drain()

    async def _answer(
        self, from_server: asyncio.StreamReader, writer: asyncio.StreamWriter, to_server: asyncio.StreamWriter
    ) -> None:
        passed = 0
        with suppress(OSError):
            while data := await from_server.read(CHUNK):
                await self._hold_up()
                if self.is_down:
                    break
                passed += len(data)
                self.answered_bytes += len(data)
                if self.cuts and passed > self.cut_after:
                    self.cuts -= 1
                    break
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
        writer.transport.abort()
        to_server.transport.abort()

    async def _hold_up(self) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        while self.is_dead and not self._over.is_set():  # noqa: ASYNC110  (another thread's doing)
            await asyncio.sleep(0.01)
