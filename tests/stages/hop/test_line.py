"""Bundles between two processes of one host: by a line of their own, unless somebody stands between them."""

import asyncio
import os
import socket
import sys

import numpy as np
import pytest

from server.domain.configuration import ModelConfig
from server.domain.errors import TierUnavailable
from server.observe.copies import Copies
from server.stages.hop.line import JOINED_BYTES, Line, Offer, is_direct, joined
from server.stages.hop.replies import Replies
from server.wire.heading import Broken
from tests.lifecycle.shelf import plus
from tests.lifecycle.waiting import until
from tests.relay import Relay
from tests.stages.hop.there import Here, Known, linked, there
from tests.stages.test_route import row
from tests.stages.tier import tier

BATCHING = ModelConfig(name="m", max_batch_size=32)

COMING = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(bytes.fromhex(sys.argv[1])); s.recv(1)"
)


def line_of(link):
    return link._open._line


def heard() -> tuple[Line, list[bytes]]:
    messages: list[bytes] = []
    return Line(messages.append, lambda: None), messages


def ask_of(number: int) -> np.ndarray:
    return np.full((1, 2), number, np.float32)


async def test_two_processes_of_one_host_have_a_line_and_others_have_none(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with there(at.manager.table, pool) as other:
            with Relay(f"127.0.0.1:{other.port}") as relay:
                for port, has_one in ((other.port, True), (int(relay.address.split(":")[1]), False)):
                    async with linked(other, port=port) as link:
                        here = Here(at.manager.table, pool, Known(link), ("predict",))
                        assert (line_of(link) is not None) == has_one
                        answers = await asyncio.gather(*(here.ask(x=ask_of(n)) for n in range(100)))
                        assert [each.outputs["y"].tolist() for each in answers] == [
                            [[n + 1, n + 1]] for n in range(100)
                        ]
                    assert link.requests == 0


async def test_by_the_stream_a_tier_that_leaves_loses_no_request_and_one_that_dies_says_so(shelf, pool):
    """As with a line, in `test_hop`."""
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        table = at.manager.table
        async with (
            there(table, pool) as one,
            linked(one, shared_bytes=0) as to_one,
            there(table, pool) as two,
            linked(two, shared_bytes=0) as to_two,
        ):
            assert line_of(to_one) is None
            here = Here(table, pool, Known(to_one, to_two), ("predict",))
            leaving: asyncio.Task[None] | None = None
            for n in range(40):
                if n == 10:
                    leaving = asyncio.create_task(one.leave())
                answers = await asyncio.gather(*(here.ask(x=row(n, m)) for m in range(8)))
                assert [each.outputs["y"].tolist() for each in answers] == [
                    [[n + 1, m + 1]] for m in range(8)
                ]
            assert leaving is not None
            await leaving
            asking = [asyncio.create_task(here.ask(x=row(n, n))) for n in range(50)]
            await two.die()
            for n, outcome in enumerate(await asyncio.gather(*asking, return_exceptions=True)):
                if not isinstance(outcome, TierUnavailable):
                    assert outcome.outputs["y"].tolist() == [[n + 1, n + 1]]
            await until(lambda: not to_two.up)


async def test_a_line_that_is_lost_fails_what_was_on_it_and_the_next_stream_has_another(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            first = line_of(link)
            asking = asyncio.create_task(here.ask(x=ask_of(1)))
            for _ in range(2):  # it begins, and leaves with the next turn
                await asyncio.sleep(0)
            assert link.requests == 1
            first.cut()
            with pytest.raises(TierUnavailable, match="the connection to it was lost"):
                await asking
            await until(lambda: link.up and line_of(link) is not first)
            assert (await here.ask(x=ask_of(1))).outputs["y"].tolist() == [[2, 2]]
            assert line_of(link) is not None


async def test_what_comes_as_the_line_has_just_gone_was_never_sent_and_goes_by_the_next(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",), patience_s=10)
            first = line_of(link)
            asking = asyncio.create_task(here.ask(x=ask_of(1)))
            first.cut()
            assert (await asking).outputs["y"].tolist() == [[2, 2]]
            assert line_of(link) is not first


async def test_a_tier_is_not_drained_while_an_answer_is_being_written():
    replies, gate, written = Replies("predict", Copies()), asyncio.Event(), []

    async def write(message: bytes) -> None:
        await gate.wait()
        written.append(message)

    writing = asyncio.create_task(replies.run(write))
    replies.open(1)
    replies.answer([1], [1], {"y": ask_of(1)}, ())
    await until(lambda: not replies._has_some())
    draining = asyncio.create_task(replies.drained())
    await asyncio.sleep(0.01)
    assert not draining.done()
    gate.set()
    await asyncio.wait_for(draining, 5)
    assert len(written) == 1
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


async def test_who_gives_up_while_the_line_is_full_is_told_of_once_it_has_room(shelf, pool):
    """What has no room in the memory that is shared goes by the line: far more than it takes at once."""
    floats, asked = 250_000, 12
    async with tier() as at:
        config = ModelConfig(name="m", max_batch_size=32)
        await at.serve(shelf.offer(shelf.put(model=plus(1, "width")), config=config))
        async with there(at.manager.table, pool) as other, linked(other, shared_bytes=1 << 17) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            asking = [
                asyncio.create_task(here.ask(x=np.full((1, floats), n, np.float32))) for n in range(asked)
            ]
            await until(lambda: line_of(link).is_full)
            for each in asking[::3]:
                each.cancel()
            for n, outcome in enumerate(await asyncio.gather(*asking, return_exceptions=True)):
                if n % 3:
                    assert (outcome.outputs["y"] == n + 1).all()
                else:
                    assert isinstance(outcome, asyncio.CancelledError)
            await until(lambda: link.requests == 0 and link.bytes == 0 and not line_of(link).is_full)
            assert (await here.ask(x=np.ones((1, 2), np.float32))).outputs["y"].tolist() == [[2, 2]]


async def test_a_line_is_for_who_was_offered_it_and_for_nobody_else():
    offer = Offer()
    _, messages = heard()
    stranger = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMING, (b"\0tercet-" + offer.name.encode()).hex()
    )
    taking = asyncio.create_task(offer.taken(stranger.pid + 1, messages.append, lambda: None))
    try:
        assert await asyncio.wait_for(stranger.wait(), 20) == 0, "it was sent away"
        assert not taking.done()
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        offer.close()
    assert await joined(offer.name, os.getpid(), messages.append, lambda: None) is None, (
        "nobody listens there any more"
    )


@pytest.mark.parametrize("piece", [1, 7, 8, 9, 100, 10_000])
def test_messages_come_whole_however_they_were_cut(piece):
    line, messages = heard()
    said = [b"", b"a", b"b" * 8, b"c" * 300, b"", b"d" * 5000]
    whole = b"".join(len(each).to_bytes(8, "little") + each for each in said)
    for at in range(0, len(whole), piece):
        line.data_received(whole[at : at + piece])
    assert messages == said


async def test_a_message_is_as_large_as_it_needs_to_be_and_comes_in_its_place():
    offer = Offer()
    ours, theirs = [], []
    loop = asyncio.get_running_loop()
    taking = loop.create_task(offer.taken(os.getpid(), theirs.append, lambda: None))
    here = await joined(offer.name, os.getpid(), ours.append, lambda: None)
    there = await taking
    assert here is not None
    assert there is not None
    said = [b"a", b"b" * (JOINED_BYTES + 1), b"c", b"d" * 5_000_000, b"e"]
    for each in said:
        here.write(each)
    assert here.is_full
    await until(lambda: len(theirs) == len(said))
    assert theirs == said
    await until(lambda: not here.is_full)
    there.write(b"back")
    there.close()
    async with asyncio.timeout(5):
        await here.ended()
    assert ours == [b"back"]
    here.write(b"to nobody")
    offer.close()


async def test_what_is_no_message_ends_the_line_and_whoever_waits_is_told():
    a, b = socket.socketpair()
    a.setblocking(False)
    line, messages = heard()
    await asyncio.get_running_loop().create_unix_connection(lambda: line, sock=a)
    b.sendall(b"\xff" * 100)
    with pytest.raises(Broken, match="no message"):
        async with asyncio.timeout(5):
            await line.ended()
    assert messages == []
    b.close()


def test_who_is_asked_through_somebody_else_is_not_asked_directly():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as asking:
            seen = asking.getsockname()[1]
            assert is_direct(f"ipv4:127.0.0.1:{seen}", f"127.0.0.1:{port}")
            assert not is_direct(f"ipv4:127.0.0.1:{seen}", f"127.0.0.1:{port + 1}"), "of a relay in between"
            assert not is_direct(f"ipv4:127.0.0.1:{port}", f"127.0.0.1:{seen}"), "nobody's"
    assert not is_direct("unix:", "127.0.0.1:1")
    assert not is_direct("", "")
