"""Events as they happen, to whoever listens: server-sent events over HTTP.

A listener has no queue of its own: it reads from the ring where it has come to, so one who is slow costs
nothing, and is told what it has missed. A stream ends when the listener leaves, or the server does.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import Response

from server.domain.errors import StreamsFull
from server.lifecycle.events import Chronicle
from server.wire import events

AT_ONCE = 256
"""Events that are written in one piece."""

KEEP_ALIVE_S = 15.0
LAST_WORDS_S = 1.0
"""How long a listener may take to read the end, when the server goes."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # proxies are to pass on each event as it comes
]


class Listening:
    """What there is to listen to, and how many do. `closing` is set when the server goes."""

    def __init__(self, chronicle: Chronicle, closing: asyncio.Event, most: int) -> None:
        self.chronicle = chronicle
        self.closing = closing
        self._most = most
        self._listeners = 0

    def check_room(self) -> None:
        """Raises `StreamsFull`."""
        if self._listeners >= self._most:
            raise StreamsFull(
                f"there are already {self._listeners} listeners to events, as many as "
                "--max-event-listeners allows"
            )

    @contextmanager
    def place(self) -> Iterator[None]:
        """Be one of the listeners."""
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1


class EventStream(Response):
    """The answer to one listener: the events of `model`, empty for all, after the number `since`."""

    def __init__(self, listening: Listening, since: int, model: str) -> None:
        super().__init__()
        listening.check_room()
        self._listening = listening
        self._since = since
        self._model = model

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._listening.place():
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(self._tell(send))
                leaving = tasks.create_task(_gone(receive))
                closing = tasks.create_task(self._listening.closing.wait())
                await asyncio.wait((telling, leaving, closing), return_when=asyncio.FIRST_COMPLETED)
                if closing.done() and not leaving.done():
                    await asyncio.wait((telling, leaving), timeout=LAST_WORDS_S)
                for task in (telling, leaving, closing):
                    task.cancel()

    async def _tell(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await _write(send, events.BEGINNING)
        while not self._listening.closing.is_set():
            text = self._next()
            if text:
                await _write(send, text)
            elif not await self._something_happens():
                await _write(send, events.KEEP_ALIVE)
        await _write(send, self._next())
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _next(self) -> bytes:
        """What has happened since; empty for nothing that concerns this listener."""
        page = self._listening.chronicle.since(self._since, AT_ONCE, self._model)
        self._since = page.last
        frames = [events.frame(event) for event in page.events]
        if page.missed != 0:
            frames.insert(0, events.missed_frame(page.missed, page.oldest))
        return b"".join(frames)

    async def _something_happens(self) -> bool:
        """Wait for news, or for the end; False where there is neither for a while."""
        news = asyncio.ensure_future(self._listening.chronicle.after(self._since))
        end = asyncio.ensure_future(self._listening.closing.wait())
        try:
            done, _ = await asyncio.wait(
                (news, end), timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            news.cancel()
            end.cancel()
        return bool(done)


async def _write(send: Any, text: bytes) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": True})


async def _gone(receive: Any) -> None:
    """Until the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
