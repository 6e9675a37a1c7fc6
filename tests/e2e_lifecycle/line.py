"""A wire to a store, which a test can cut: now, for good, or in the middle of what is being sent."""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class Line:
    """Passes on what comes, on a thread of its own.

    is_down     refuse whoever comes, and cut who is there with the next bytes
    cuts        so many answers are still to be cut
    cut_after   bytes of an answer that come through before it is cut
    """

    def __init__(self, server: str) -> None:
        self.is_down = False
        self.cuts = 0
        self.cut_after = 100_000
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
        if self.is_down:
            writer.transport.abort()
            return
        from_server, to_server = await asyncio.open_connection(*self._server.split(":"))
        answering = asyncio.create_task(self._answer(from_server, writer, to_server))
        try:
            while (data := await reader.read(65_536)) and not self.is_down:
                to_server.write(data)
                await to_server.drain()
        except OSError:
            pass
        finally:
            with suppress(OSError):
                to_server.close()
            await answering
            writer.transport.abort()

    async def _answer(
        self, from_server: asyncio.StreamReader, writer: asyncio.StreamWriter, to_server: asyncio.StreamWriter
    ) -> None:
        passed = 0
        with suppress(OSError):
            while (data := await from_server.read(65_536)) and not self.is_down:
                passed += len(data)
                if self.cuts and passed > self.cut_after:
                    self.cuts -= 1
                    break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
        to_server.transport.abort()
