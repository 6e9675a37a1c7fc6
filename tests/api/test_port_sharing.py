import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from server.api.port_sharing import GOAWAY, deafen, send_away, stop_listening, until_listening

LOOPBACKS = ["127.0.0.1", "::1"]


@pytest.fixture(params=LOOPBACKS)
def listener(request) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((request.param, 0))
        listener.listen()
        yield listener


def beside(listener: socket.socket) -> socket.socket:
    """Another listener on the same port."""
    other = socket.socket(listener.family)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    other.bind(listener.getsockname())
    other.listen()
    return other


def client(listener: socket.socket, within_s: float = 5.0) -> socket.socket:
    return socket.create_connection(listener.getsockname()[:2], timeout=within_s)


def test_a_deaf_listener_keeps_what_was_begun_and_begins_nothing(listener):
    with client(listener) as early:
        deafen(listener)
        with pytest.raises(TimeoutError):
            client(listener, within_s=0.2)
        early.sendall(b"still here")
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(99) == b"still here"
            accepted.sendall(b"answered")
        assert early.recv(99) == b"answered"


async def test_who_comes_while_a_listener_closes_is_let_in_by_the_other(listener):
    port = listener.getsockname()[1]
    with beside(listener) as other:
        leaving = asyncio.create_task(stop_listening(port))  # of both, as both are this process's
        await asyncio.sleep(0.01)
        late = asyncio.create_task(asyncio.to_thread(client, listener))
        await leaving
        with socket.socket(listener.family) as third:
            third.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            third.bind(listener_address := (LOOPBACKS[listener.family == socket.AF_INET6], port))
            third.listen()
            third.settimeout(5)
            (await late).close()
            assert third.accept()[1][0] == listener_address[0]
        assert other.getsockname()[1] == 0, "its descriptor has another socket behind it"


async def test_a_listener_is_waited_for(listener):
    with socket.socket() as later:
        later.bind(("127.0.0.1", 0))
        waiting = asyncio.create_task(until_listening(later.getsockname()[1]))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        later.listen()
        await asyncio.wait_for(waiting, 5)


async def test_a_client_is_told_to_go_once_and_waited_for_until_it_has(listener):
    with client(listener) as guest:
        host, _ = listener.accept()
        with host:
            going = asyncio.create_task(send_away(listener.getsockname()[1], within_s=10))
            assert await asyncio.to_thread(guest.recv, 99) == GOAWAY
            await asyncio.sleep(0.05)
            assert not going.done()
            guest.setblocking(False)
            with pytest.raises(BlockingIOError):
                guest.recv(1)
        await asyncio.wait_for(going, 5)


async def test_a_client_with_half_an_answer_under_way_is_not_told_in_its_midst(listener):
    with client(listener) as guest:
        host, _ = listener.accept()
        with host:
            host.setblocking(False)
            sent = 0
            with suppress(BlockingIOError):
                while True:
                    sent += host.send(bytes(1 << 20))
            await send_away(listener.getsockname()[1], within_s=0.1)
            guest.settimeout(0.2)
            came = bytearray()
            with suppress(TimeoutError):
                while True:
                    came += guest.recv(1 << 20)
            assert came == bytes(sent)


async def test_who_does_not_go_is_not_waited_for_for_ever(listener):
    with client(listener), listener.accept()[0]:
        await asyncio.wait_for(send_away(listener.getsockname()[1], within_s=0.1), 5)
