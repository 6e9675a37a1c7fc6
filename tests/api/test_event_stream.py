"""A listener's stream, by its own bytes: what one who is slow is told, and how all of them end."""

import asyncio
import json

import pytest

from server.api.event_stream import EventStream, Listening
from server.domain.errors import StreamsFull
from server.domain.event import What
from server.lifecycle.events import Chronicle


class Client:
    """The other end of one connection, which takes what is sent only while it is `reading`."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.reading.set()
        self.gone = asyncio.Event()
        self.came: list[dict] = []

    async def receive(self) -> dict:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict) -> None:
        await self.reading.wait()
        self.came.append(message)

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.came).decode()

    @property
    def kinds(self) -> list[str]:
        return [line.removeprefix("event: ") for line in self.text.splitlines() if line.startswith("event: ")]

    async def until(self, *kinds: str) -> None:
        async with asyncio.timeout(5):
            while self.kinds != list(kinds):  # noqa: ASYNC110  (the stream is asked through its bytes alone)
                await asyncio.sleep(0.001)


@pytest.fixture
def listening() -> Listening:
    return Listening(Chronicle(kept=4), asyncio.Event(), most=2)


def listens(listening: Listening, client: Client, since: int | None = None, model: str = "") -> asyncio.Task:
    at = listening.chronicle.last if since is None else since
    stream = EventStream(listening, at, model)
    return asyncio.ensure_future(stream({}, client.receive, client.send))


def tell(listening: Listening, times: int, model: str = "m") -> None:
    for _ in range(times):
        listening.chronicle.tell(What.READY, model, 1)


async def test_events_come_as_they_happen(listening):
    client = Client()
    stream = listens(listening, client)
    tell(listening, 1)
    await client.until("ready")
    tell(listening, 1)
    await client.until("ready", "ready")
    listening.closing.set()
    await asyncio.wait_for(stream, 5)
    assert client.came[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_one_who_is_slow_is_told_how_much_was_missed_and_nobody_waits(listening):
    client, other = Client(), Client()
    streams = [listens(listening, each) for each in (client, other)]
    tell(listening, 1)
    await client.until("ready")
    client.reading.clear()
    for at in range(10):
        tell(listening, 1)
        await other.until(*["ready"] * (at + 2))  # who reads gets each one meanwhile
    client.reading.set()
    tell(listening, 1)
    await client.until("ready", "ready", "missed", *["ready"] * 4)
    missed = next(line for line in client.text.splitlines() if '"missed"' in line)
    assert json.loads(missed.removeprefix("data: "))["missed"] == 6  # 12 in all: 2 came, 4 are kept
    listening.closing.set()
    await asyncio.wait_for(asyncio.gather(*streams), 5)


async def test_one_who_never_reads_does_not_hold_up_the_end(listening):
    client = Client()
    client.reading.clear()
    stream = listens(listening, client)
    listening.closing.set()
    await asyncio.wait_for(stream, 5)


async def test_one_who_leaves_makes_room(listening):
    clients = [Client(), Client()]
    streams = [listens(listening, each) for each in clients]
    await asyncio.sleep(0)
    with pytest.raises(StreamsFull, match="2 listeners"):
        listens(listening, Client())
    clients[0].gone.set()
    await asyncio.wait_for(streams[0], 5)
    listening.check_room()
    listening.closing.set()
    await asyncio.wait_for(streams[1], 5)


async def test_a_number_beyond_the_last_is_of_another_process_and_the_stream_goes_on(listening):
    client = Client()
    tell(listening, 1)
    stream = listens(listening, client, since=listening.chronicle.last + 1000)
    await client.until("missed", "ready")
    tell(listening, 1)
    await client.until("missed", "ready", "ready")
    listening.closing.set()
    await asyncio.wait_for(stream, 5)


async def test_one_model_alone_is_told_of(listening):
    client = Client()
    stream = listens(listening, client, model="mine")
    tell(listening, 20, "other")
    tell(listening, 1, "mine")
    await client.until("missed", "ready")
    listening.closing.set()
    await asyncio.wait_for(stream, 5)
