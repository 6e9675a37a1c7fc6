"""Calls that are passed on: a public client, our connection, and a real grpcio server behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from server.http2.behind import UnixBehind
from server.http2.calls import Line, Manners
from server.http2.connection import Connection
from tests.http2.line import Taker

MANNERS = Manners(most_streams=100, ask_after_s=3600.0, answered_within_s=20.0, asks_idle=True)
LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Echo:
    """Methods of a server behind: each has something of its own to be got wrong."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.read = 0

    def handlers(self) -> grpc.GenericRpcHandler:
        table = {
            "Say": grpc.unary_unary_rpc_method_handler(self.say),
            "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Stuck": grpc.stream_stream_rpc_method_handler(self.stuck),
        }
        return grpc.method_handlers_generic_handler("test.Echo", table)

    async def say(self, content: bytes, context: Any) -> bytes:
        await context.send_initial_metadata((("first", "1"),))
        given = list(context.invocation_metadata())
        by_us = ",".join(value for name, value in given if name == "by-us")
        context.set_trailing_metadata((("last", "2"), ("raw-bin", b"\0\xff"), ("told", by_us)))
        return dict(given).get("prefix", "").encode() + content

    async def refuse(self, content: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100 % sure")
        raise AssertionError

    async def wait(self, content: bytes, context: Any) -> bytes:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return content

    async def both(self, asked: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for each in asked:
            yield each + b"!"

    async def stuck(self, asked: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in asked:
            self.read += 1
            await self.cancelled.wait()
        yield b"over"


class Passing(Taker):
    """Passes on whatever comes."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._tasks: set[asyncio.Task[None]] = set()

    def behind(self, line: Line) -> Any:
        return UnixBehind(line, self._path, self._own, ((b"by-us", b"ours"),))

    def _own(self, work: Any) -> "asyncio.Task[None]":
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


@asynccontextmanager
async def passing(folder: Path, *, serves: bool = True) -> AsyncIterator[tuple[Any, Echo, grpc.aio.Server]]:
    """A channel to a connection of ours, and the server behind it."""
    echo, path = Echo(), f"{folder}/behind.sock"
    behind = grpc.aio.server(options=LARGE)
    behind.add_generic_rpc_handlers((echo.handlers(),))
    if serves:
        behind.add_insecure_port(f"unix:{path}")
    await behind.start()
    taker = Passing(path)
    front = await asyncio.get_running_loop().create_server(lambda: Connection(taker, MANNERS), "127.0.0.1", 0)
    port = front.sockets[0].getsockname()[1]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=LARGE) as channel:
        yield channel, echo, behind
    front.close()
    await behind.stop(0)


def method(channel: Any, name: str, kind: str = "unary_unary") -> Any:
    return getattr(channel, kind)(f"/test.Echo/{name}")


async def test_a_call_and_its_metadata_go_there_and_back(tmp_path):
    async with passing(tmp_path) as (channel, _, _):
        call = method(channel, "Say")(b"word", metadata=(("prefix", "in a "), ("by-us", "theirs")))
        assert await call == b"in a word"
        assert ("first", "1") in list(await call.initial_metadata())
        trailing = list(await call.trailing_metadata())
        assert ("last", "2") in trailing
        assert ("raw-bin", b"\0\xff") in trailing
        assert ("told", "ours") in trailing


async def test_a_refusal_keeps_its_code_and_its_words(tmp_path):
    async with passing(tmp_path) as (channel, _, _):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await method(channel, "Refuse")(b"")
        assert (refusal.value.code(), refusal.value.details()) == (
            grpc.StatusCode.NOT_FOUND,
            "no such thing: 100 % sure",
        )


async def test_large_messages_go_through_in_both_directions_many_at_once(tmp_path):
    async with passing(tmp_path) as (channel, _, _):
        contents = [bytes((number,)) * (3_000_000 + number) for number in range(8)]
        answers = await asyncio.gather(*(method(channel, "Say")(content) for content in contents))
        assert answers == contents


async def test_a_stream_answers_as_it_is_asked(tmp_path):
    async with passing(tmp_path) as (channel, _, _):
        call = method(channel, "Both", "stream_stream")()
        for number in range(50):
            await call.write(b"%d" % number)
            assert await call.read() == b"%d!" % number
        await call.write(bytes(2_000_000))
        assert await call.read() == bytes(2_000_000) + b"!"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_a_call_that_is_given_up_is_given_up_behind_as_well(tmp_path):
    async with passing(tmp_path) as (channel, echo, _):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await method(channel, "Wait")(b"", timeout=0.2)
        assert refusal.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await echo.cancelled.wait()


async def test_a_client_that_leaves_is_gone_behind_as_well(tmp_path):
    async with passing(tmp_path) as (channel, echo, _):
        call = method(channel, "Wait")(b"")
        asking = asyncio.ensure_future(call)
        await asyncio.sleep(0.2)
        await channel.close(None)
        async with asyncio.timeout(5):
            await echo.cancelled.wait()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await asking


async def test_who_is_not_read_behind_can_send_so_much_and_no_more_and_others_go_on(tmp_path):
    async with passing(tmp_path) as (channel, echo, _):
        call = method(channel, "Stuck", "stream_stream")()
        sent = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                while sent < 20_000_000:
                    await call.write(bytes(100_000))
                    sent += 100_000
        assert 1_000_000 < sent < 20_000_000
        assert await method(channel, "Say")(b"word", timeout=5) == b"word"
        echo.cancelled.set()
        call.cancel()


async def test_without_a_server_behind_a_call_is_refused_at_once(tmp_path):
    async with passing(tmp_path, serves=False) as (channel, _, _):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await method(channel, "Say")(b"", timeout=5)
        assert refusal.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)


async def test_a_server_behind_that_stops_finishes_and_later_calls_are_refused(tmp_path):
    async with passing(tmp_path) as (channel, _, behind):
        call = method(channel, "Both", "stream_stream")()
        await call.write(b"a")
        assert await call.read() == b"a!"
        stopping = asyncio.ensure_future(behind.stop(5))
        await asyncio.sleep(0.1)
        await call.write(b"b")
        assert await call.read() == b"b!"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        await stopping
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await method(channel, "Say")(b"", timeout=5)
        assert refusal.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)
