"""A connection's frames become calls, and answers become frames: RFC 9113, as a gRPC server needs it."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.http2 import frames
from server.http2.calls import Line as Caller
from server.http2.calls import Manners
from server.http2.connection import (
    CONNECTION_WINDOW,
    GOODBYE,
    LARGEST_BLOCK,
    LARGEST_FRAME_TAKEN,
    STREAM_WINDOW,
    named,
)
from server.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from tests.e2e.http2 import Frame
from tests.http2.line import LARGEST, MANNERS, OURS, Begun, Line, Taker, fields_of, message

pytestmark = pytest.mark.asyncio

THEIRS = b"/test.Service/Theirs"


def answering(content: bytes = b"answer") -> Taker:
    return Taker(lambda connection, call: connection.answer(call.stream, content))


def codes(sent: list[Frame]) -> list[tuple[int, int]]:
    """Streams that are reset, with the code."""
    return [(each.stream, int.from_bytes(each.payload)) for each in sent if each.kind == RST_STREAM]


def ended_with(line: Line) -> int:
    """The code that the connection is over with."""
    (last,) = [each for each in line.written() if each.kind == GOAWAY]
    assert line.transport.is_closed
    return int.from_bytes(last.payload[4:8])


async def test_it_begins_with_what_we_take_and_that_we_keep_no_table():
    line = Line(begin=False)
    told, room = line.written()
    assert dict(frames.settings_of(told.payload)) == {
        frames.HEADER_TABLE_SIZE: 0,
        frames.MAX_CONCURRENT_STREAMS: MANNERS.most_streams,
        frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        frames.MAX_FRAME_SIZE: LARGEST_FRAME_TAKEN,
        frames.MAX_HEADER_LIST_SIZE: 16_384,
    }
    assert room == Frame(WINDOW_UPDATE, 0, 0, (CONNECTION_WINDOW - 65_535).to_bytes(4))


async def test_a_call_is_handed_over_and_its_answer_goes_out_in_three_frames():
    line = Line(answering(b"answer"))
    line.feed(line.call(1, b"question"))
    (call,) = line.taker.begun
    assert (call.stream, call.content, call.is_packed) == (1, b"question", False)
    assert call.said == fields_of()
    head, body, end = line.written()
    assert (head.kind, head.flags, head.stream) == (HEADERS, END_HEADERS, 1)
    assert line.fields(head) == [(b":status", b"200"), (b"content-type", b"application/grpc")]
    assert body == Frame(DATA, 0, 1, message(b"answer"))
    assert (end.kind, end.flags, end.stream) == (HEADERS, END_HEADERS | END_STREAM, 1)
    assert line.fields(end) == [(b"grpc-status", b"0")]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=6), st.data())
async def test_however_the_bytes_are_cut_the_same_calls_come_of_them(contents, data):
    def fed(line: Line) -> bytes:
        pieces = []
        for number, content in enumerate(contents):
            stream, whole = 2 * number + 1, message(content)
            cut = data.draw(st.integers(0, len(whole)))
            pieces += [
                line.headers(stream, fields_of()),
                line.data(stream, whole[:cut]),
                line.data(stream, whole[cut:], END_STREAM),
                frame(PING, 0, 0, b"8 octets"),
            ]
        return b"".join(pieces)

    line = Line()
    sent = fed(line)
    at = 0
    while at < len(sent):
        size = data.draw(st.integers(1, 70))
        line.feed(sent[at : at + size])
        at += size
    assert [(call.stream, call.content) for call in line.taker.begun] == [
        (2 * number + 1, content) for number, content in enumerate(contents)
    ]
    assert len(line.written()) == len(contents)


async def test_fields_that_came_before_are_known_again_on_every_connection():
    taker = Taker()
    first, second = Line(taker), Line(taker)
    first.feed(first.call(1, b""), first.call(3, b""))
    second.feed(second.call(1, b""), second.call(3, b""))
    heads = [call.said for call in taker.begun]
    assert heads[1] is heads[3]  # the first of each says, too, that the table is gone
    assert heads[0] == heads[1]


async def test_a_client_that_has_not_heard_yet_uses_its_table():
    line = Line(begin=False)
    line.feed(frames.PREFACE, frames.settings({}), line.call(1, b"a"), line.call(3, b"b"))
    line.encoder.header_table_size = 0
    line.feed(frames.SETTINGS_TAKEN, line.call(5, b"c"), line.call(7, b"d"))
    assert [call.content for call in line.taker.begun] == [b"a", b"b", b"c", b"d"]
    assert all(call.said == fields_of() for call in line.taker.begun)


async def test_a_client_that_keeps_its_table_is_understood_all_the_same():
    line = Line(begin=False)
    line.feed(frames.PREFACE, frames.settings({}), frames.SETTINGS_TAKEN)
    for number in range(5):
        more = (b"number", b"%d" % number)
        line.feed(
            line.headers(2 * number + 1, fields_of(OURS, more)),
            line.data(2 * number + 1, message(b""), END_STREAM),
        )
    assert [dict(call.said)[b"number"] for call in line.taker.begun] == [b"0", b"1", b"2", b"3", b"4"]


async def test_fields_come_in_several_frames_padded_and_with_a_priority():
    line = Line()
    block = line.encoder.encode(fields_of())
    first = b"\x03" + b"\0\0\0\0\x10" + block[:7] + b"\0" * 3
    line.feed(
        frame(HEADERS, PADDED | HAS_PRIORITY, 1, first),
        frame(CONTINUATION, 0, 1, block[7:9]),
        frame(CONTINUATION, END_HEADERS, 1, block[9:]),
        frame(DATA, END_STREAM | PADDED, 1, b"\x02" + message(b"question") + b"\0\0"),
    )
    assert [call.content for call in line.taker.begun] == [b"question"]


async def test_a_large_message_is_put_together_and_makes_room_as_it_comes():
    line, content = Line(), bytes(range(250)) * 10_000
    whole = message(content)
    line.feed(line.headers(1, fields_of()))
    for at in range(0, len(whole), 16_384):
        is_last = at + 16_384 >= len(whole)
        line.feed(line.data(1, whole[at : at + 16_384], END_STREAM if is_last else 0))
    assert [call.content for call in line.taker.begun] == [content]
    room = sum(int.from_bytes(each.payload) for each in line.written() if each.stream == 1)
    assert len(whole) - STREAM_WINDOW < room <= len(whole)


async def test_what_comes_over_a_connection_makes_room_for_more():
    line, content = Line(), bytes(1_000_000)
    for number in range(20):
        line.feed(line.call(2 * number + 1, content))
    room = sum(int.from_bytes(each.payload) for each in line.written() if each.stream == 0)
    assert CONNECTION_WINDOW // 2 < room <= 20_000_000 + 20 * 5


async def test_a_packed_message_is_said_to_be():
    line = Line()
    line.feed(line.headers(1, fields_of()), line.data(1, message(b"zip", packed=True), END_STREAM))
    assert [(call.content, call.is_packed) for call in line.taker.begun] == [(b"zip", True)]


@pytest.mark.parametrize(
    ("sent", "trouble"),
    [
        (b"", "the call ends before its message does"),
        (message(b"question")[:-1], "the call ends before its message does"),
        (message(b"question")[:3], "the call ends before its message does"),
        (message(b"question") + message(b""), "the call has more than one message"),
        (b"\0" + (LARGEST + 1).to_bytes(4), LARGEST + 1),
    ],
)
async def test_what_is_not_one_message_is_told(sent, trouble):
    line = Line()
    line.feed(line.headers(1, fields_of()), line.data(1, sent, END_STREAM), line.call(3, b"next"))
    assert line.taker.troubles == [(1, trouble)]
    assert [call.stream for call in line.taker.begun] == [3]


async def test_a_call_without_any_message_is_told():
    line = Line()
    line.feed(line.headers(1, fields_of(), END_STREAM))
    assert line.taker.troubles == [(1, "the call has no message")]


async def test_a_message_that_is_too_large_is_refused_before_it_has_come():
    line = Line()
    line.feed(line.headers(1, fields_of()), line.data(1, b"\0" + (LARGEST + 1).to_bytes(4) + b"beginning"))
    assert line.taker.troubles == [(1, LARGEST + 1)]
    assert codes(line.written()) == [(1, frames.NO_ERROR)]
    line.feed(line.data(1, b"more of it"), line.data(1, b"the end", END_STREAM), line.call(3, b"next"))
    assert [call.stream for call in line.taker.begun] == [3]
    assert line.written() == []


async def test_a_call_of_which_nothing_can_be_made_is_refused_and_the_others_go_on():
    line = Line()
    line.feed(line.headers(1, [(b":method", b"POST")]), line.call(3, b"next"))
    refusal, reset = line.written()
    assert line.fields(refusal) == [(b":status", b"400")]
    assert (refusal.flags, reset) == (END_HEADERS | END_STREAM, Frame(RST_STREAM, 0, 1, bytes(4)))
    assert [call.stream for call in line.taker.begun] == [3]


async def test_a_client_that_gives_a_call_up_has_it_cancelled_and_gets_no_answer():
    line = Line()
    line.feed(line.call(1, b"a"), line.call(3, b"b"))
    line.feed(frames.reset(1, frames.CANCEL))
    first, second = line.taker.begun
    assert (first.is_cancelled, second.is_cancelled) == (True, False)
    assert not line.connection.answer(1, b"")
    assert line.written() == []
    assert line.connection.answer(3, b"")


async def test_a_client_that_leaves_has_all_its_calls_cancelled():
    line = Line()
    line.feed(line.call(1, b"a"), line.call(3, b"b"), line.headers(5, fields_of()))
    line.connection.connection_lost(None)
    assert all(call.is_cancelled for call in line.taker.begun)
    assert line.taker.here == 0
    assert not line.connection.answer(1, b"")


async def test_more_calls_at_once_than_may_be_are_refused_and_the_next_one_is_taken():
    line = Line(manners=Manners(most_streams=2, ask_after_s=60, answered_within_s=1, asks_idle=False))
    line.feed(line.call(1, b""), line.call(3, b""), line.call(5, b""))
    assert codes(line.written()) == [(5, frames.REFUSED_STREAM)]
    line.connection.answer(1, b"")
    line.feed(line.call(7, b""))
    assert [call.stream for call in line.taker.begun] == [1, 3, 7]


async def test_answers_that_are_not_read_count_as_open_calls():
    manners = Manners(most_streams=2, ask_after_s=60, answered_within_s=1, asks_idle=False)
    line = Line(answering(bytes(70_000)), manners)
    line.feed(line.call(1, b""), line.call(3, b""), line.call(5, b""))
    assert codes(line.written()) == [(5, frames.REFUSED_STREAM)]


async def test_an_answer_goes_out_as_the_client_makes_room_for_it():
    content = bytes(range(256)) * 1000
    line = Line(answering(content))
    line.feed(line.call(1, b""))
    got = b""
    for _ in range(100):
        sent = line.written()
        got += b"".join(each.payload for each in sent if each.kind == DATA)
        assert all(len(each.payload) <= 16_384 for each in sent)
        if sent and sent[-1].flags & END_STREAM:
            break
        line.feed(frames.window_update(0, 10_000), frames.window_update(1, 10_000))
    assert got == message(content)
    assert line.fields(sent[-1]) == [(b"grpc-status", b"0")]


async def test_room_that_was_made_before_the_answer_counts():
    line = Line()
    line.feed(line.call(1, b""), frames.window_update(0, 100_000), frames.window_update(1, 100_000))
    line.connection.answer(1, bytes(100_000))
    assert sum(len(each.payload) for each in line.written() if each.kind == DATA) == 100_005


async def test_a_client_says_how_much_each_call_and_each_frame_may_bring():
    line = Line()
    line.feed(frames.settings({frames.INITIAL_WINDOW_SIZE: 20_000, frames.MAX_FRAME_SIZE: 18_000}))
    assert line.written() == [Frame(SETTINGS, ACK, 0, b"")]
    line.feed(line.call(1, b""))
    line.connection.answer(1, bytes(30_000))
    assert [len(each.payload) for each in line.written() if each.kind == DATA] == [5, 18_000, 1995]
    line.feed(frames.settings({frames.INITIAL_WINDOW_SIZE: 25_000}))
    assert [len(each.payload) for each in line.written() if each.kind == DATA] == [5000]
    line.feed(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}), frames.window_update(1, 26_000))
    assert [len(each.payload) for each in line.written() if each.kind == DATA] == [1000]


async def test_a_client_with_a_smaller_table_hears_that_we_use_none():
    line = Line(answering())
    line.feed(frames.settings({frames.HEADER_TABLE_SIZE: 100}), line.call(1, b""), line.call(3, b""))
    blocks = [each.payload for each in line.written() if each.kind == HEADERS]
    assert [block[:1] for block in blocks] == [b"\x20", b"\0", b"\x88", b"\0"]


async def test_it_hears_so_with_whichever_fields_come_first_though_others_wait_for_room():
    line = Line()
    line.feed(line.call(1, b""), line.call(3, b""))
    line.connection.answer(1, bytes(70_000))
    line.feed(frames.settings({frames.HEADER_TABLE_SIZE: 100}))
    line.connection.fail(3, b"")
    line.feed(frames.window_update(0, 70_000), frames.window_update(1, 70_000))
    blocks = [(each.stream, each.payload[:1]) for each in line.written() if each.kind == HEADERS]
    assert blocks == [(1, b"\x88"), (3, b"\x20"), (1, b"\0")]


async def test_while_the_client_does_not_read_nothing_is_written_that_waits_nor_read():
    line = Line()
    line.feed(line.call(1, b""), frames.window_update(0, 2**20), frames.window_update(1, 2**20))
    line.connection.pause_writing()
    assert not line.transport.is_reading
    line.connection.answer(1, bytes(100_000))
    assert not [each for each in line.written() if each.kind == DATA]
    line.connection.resume_writing()
    assert line.transport.is_reading
    assert sum(len(each.payload) for each in line.written() if each.kind == DATA) == 100_005


async def test_other_calls_are_passed_on_with_all_that_comes_of_them():
    line = Line()
    line.feed(
        line.headers(1, fields_of(THEIRS)),
        line.data(1, b"one"),
        line.call(3, b"ours"),
        line.data(1, b"two", END_STREAM),
        line.headers(5, fields_of(THEIRS), END_STREAM),
        frames.reset(5, frames.CANCEL),
    )
    (way,) = line.taker.ways
    assert way.told == [
        ("begin", 1, THEIRS, False),
        ("data", 1, b"one", False),
        ("data", 1, b"two", True),
        ("begin", 5, THEIRS, True),
        ("reset", 5, frames.CANCEL),
    ]
    assert [call.stream for call in line.taker.begun] == [3]
    line.connection.connection_lost(None)
    assert way.is_closed


async def test_what_is_passed_on_makes_room_only_once_it_is_out_of_the_way():
    line = Line()
    line.feed(line.headers(1, fields_of(THEIRS)), line.data(1, bytes(1000)))
    assert line.written() == []
    line.connection.passed_on(1, 1000)
    assert line.written() == [Frame(WINDOW_UPDATE, 0, 1, (1000).to_bytes(4))]


async def test_an_answer_that_is_passed_on_keeps_its_order_and_its_windows():
    line, gone = Line(), []
    line.feed(line.headers(1, fields_of(THEIRS), END_STREAM))
    line.connection.relay_fields(1, b"\x88", False)
    line.connection.relay_data(1, bytes(70_000), False, gone.append)
    line.connection.relay_fields(1, b"\0\x01a\x01b", True)
    sent = line.written()
    assert [each.kind for each in sent] == [HEADERS, DATA, DATA, DATA, DATA]
    assert sum(gone) == 65_535
    line.feed(frames.window_update(0, 70_000), frames.window_update(1, 70_000))
    body, end = line.written()
    assert sum(gone) == 70_000
    assert (len(body.payload), line.fields(end)) == (70_000 - 65_535, [(b"a", b"b")])


async def test_a_way_that_takes_nothing_new_goes_on_with_what_it_has():
    line = Line()
    line.feed(line.headers(1, fields_of(THEIRS)))
    line.taker.ways[0].is_over = True
    line.feed(line.headers(3, fields_of(THEIRS)), line.data(1, b"more"), frames.reset(1, frames.CANCEL))
    first, second = line.taker.ways
    assert first.told == [
        ("begin", 1, THEIRS, False),
        ("data", 1, b"more", False),
        ("reset", 1, frames.CANCEL),
    ]
    assert second.told == [("begin", 3, THEIRS, False)]
    line.feed(line.headers(5, fields_of(THEIRS)))
    line.connection.connection_lost(None)
    assert second.is_closed


async def test_a_way_that_is_over_is_made_anew():
    line = Line()
    line.feed(line.headers(1, fields_of(THEIRS)))
    line.taker.ways[0].is_over = True
    line.connection.relay_reset(1, frames.INTERNAL_ERROR)
    line.feed(line.headers(3, fields_of(THEIRS)))
    assert codes(line.written()) == [(1, frames.INTERNAL_ERROR)]
    assert [way.told for way in line.taker.ways] == [
        [("begin", 1, THEIRS, False)],
        [("begin", 3, THEIRS, False)],
    ]


async def test_a_ping_is_answered_and_what_nobody_knows_is_passed_over():
    line = Line()
    line.feed(
        frame(PING, 0, 0, b"8 octets"),
        frame(0xEE, 0xFF, 5, b"?"),
        frame(PRIORITY, 0, 9, bytes(5)),
        frame(GOAWAY, 0, 0, bytes(8)),
        frame(PING, ACK, 0, GOODBYE),
        frames.settings({0xEEEE: 1}),
    )
    assert line.written() == [Frame(PING, ACK, 0, b"8 octets"), Frame(SETTINGS, ACK, 0, b"")]


WRONG = {
    "data of no stream": (frame(DATA, 0, 0, b""), frames.PROTOCOL_ERROR),
    "data of a stream that nobody opened": (frame(DATA, 0, 7, b""), frames.PROTOCOL_ERROR),
    "fields of an even stream": (frame(HEADERS, END_HEADERS, 2, b"\x83"), frames.PROTOCOL_ERROR),
    "fields that cannot be read": (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff"), frames.COMPRESSION_ERROR),
    "more fields than are taken": (
        frame(HEADERS, END_HEADERS, 1, (b"\0\x01a" + b"\x7f\xff\x7e" + bytes(16_382)) * 2),
        frames.ENHANCE_YOUR_CALM,
    ),
    "fields without an end": (
        frame(HEADERS, 0, 1, bytes(60_000)) + frame(CONTINUATION, 0, 1, bytes(10_000)),
        frames.ENHANCE_YOUR_CALM,
    ),
    "fields in nothing but frames": (
        frame(HEADERS, 0, 1, b"\x83") + frame(CONTINUATION, 0, 1, b""),
        frames.ENHANCE_YOUR_CALM,
    ),
    "a frame amid fields": (
        frame(HEADERS, 0, 1, b"\x83") + frame(PING, 0, 0, bytes(8)),
        frames.PROTOCOL_ERROR,
    ),
    "data amid fields": (frame(HEADERS, 0, 1, b"\x83") + frame(DATA, 0, 1, b""), frames.PROTOCOL_ERROR),
    "fields that nobody began": (frame(CONTINUATION, 0, 1, b"\x83"), frames.PROTOCOL_ERROR),
    "padding beyond the frame": (frame(HEADERS, PADDED | END_HEADERS, 1, b"\x05\x83"), frames.PROTOCOL_ERROR),
    "a padded frame of nothing": (frame(DATA, PADDED, 1, b""), frames.FRAME_SIZE_ERROR),
    "a push": (frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4)), frames.PROTOCOL_ERROR),
    "a ping of nine bytes": (frame(PING, 0, 0, bytes(9)), frames.FRAME_SIZE_ERROR),
    "a ping of a stream": (frame(PING, 0, 1, bytes(8)), frames.PROTOCOL_ERROR),
    "settings of seven bytes": (frame(SETTINGS, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR),
    "a window beyond all": (frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31}), frames.FLOW_CONTROL_ERROR),
    "frames too small": (frames.settings({frames.MAX_FRAME_SIZE: 100}), frames.PROTOCOL_ERROR),
    "a push asked for twice": (frames.settings({frames.ENABLE_PUSH: 2}), frames.PROTOCOL_ERROR),
    "room for nothing": (frames.window_update(0, 0), frames.PROTOCOL_ERROR),
    "room beyond all": (frames.window_update(0, 2**31 - 1), frames.FLOW_CONTROL_ERROR),
    "room for what is not open": (frames.window_update(9, 1), frames.PROTOCOL_ERROR),
    "a reset of what is not open": (frames.reset(9, 0), frames.PROTOCOL_ERROR),
    "a frame that is too long": (frames.head(LARGEST_BLOCK + 1, HEADERS, 0, 1), frames.FRAME_SIZE_ERROR),
    "data that are too long": (
        frames.head(LARGEST_FRAME_TAKEN + 1, DATA, 0, 1) + b"x",
        frames.FRAME_SIZE_ERROR,
    ),
}


@pytest.mark.parametrize(("sent", "code"), WRONG.values(), ids=WRONG)
async def test_what_nobody_can_follow_ends_the_connection(sent, code):
    line = Line()
    line.feed(sent)
    assert ended_with(line) == code
    line.feed(line.call(1, b"too late"))
    assert line.taker.begun == []


async def test_what_is_not_http2_ends_the_connection_at_once():
    line = Line(begin=False)
    line.written()
    line.feed(b"GET / HTTP/1.1\r\n")
    assert ended_with(line) == frames.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (lambda line: line.data(1, b"more"), frames.STREAM_CLOSED),
        (lambda line: line.headers(1, [(b"a", b"b")]), frames.PROTOCOL_ERROR),
        (lambda line: frames.window_update(1, 0), frames.PROTOCOL_ERROR),
        (lambda line: frames.window_update(1, 2**31 - 1), frames.FLOW_CONTROL_ERROR),
    ],
)
async def test_what_is_wrong_with_one_call_ends_that_call_alone(sent, code):
    line = Line()
    line.feed(line.call(1, b""), line.call(3, b""), sent(line), line.call(5, b""))
    assert codes(line.written()) == [(1, code)]
    assert [call.is_cancelled for call in line.taker.begun] == [True, False, False]


async def test_frames_of_a_call_that_is_over_are_passed_over():
    line = Line(answering())
    line.feed(line.call(1, b""), line.call(3, b""))
    line.written()
    line.feed(
        line.data(1, b"late"),
        frames.window_update(1, 5),
        frames.reset(1, frames.CANCEL),
        line.headers(1, [(b"a", b"b")], END_STREAM),
    )
    assert line.written() == []
    assert not line.transport.is_closed


async def test_a_client_that_is_to_go_finishes_what_it_has_begun():
    line = Line()
    line.feed(line.call(1, b""))
    line.connection.leave()
    first, ping = line.written()
    assert (first.kind, first.payload) == (GOAWAY, (2**31 - 1).to_bytes(4) + bytes(4))
    line.feed(line.call(3, b"on its way"), frame(PING, ACK, 0, ping.payload))
    (second,) = line.written()
    assert (second.kind, second.payload) == (GOAWAY, (3).to_bytes(4) + bytes(4))
    line.feed(line.call(5, b"too late"))
    assert codes(line.written()) == [(5, frames.REFUSED_STREAM)]
    line.connection.answer(1, b"")
    assert not line.transport.is_closed
    line.connection.answer(3, b"")
    assert line.transport.is_closed


async def test_a_client_that_is_silent_is_asked_and_given_up_if_it_stays_so():
    line = Line(manners=Manners(most_streams=9, ask_after_s=0.01, answered_within_s=0.01, asks_idle=True))
    await asyncio.sleep(0.015)
    (asked,) = line.written()
    assert asked.kind == PING
    line.feed(frame(PING, ACK, 0, asked.payload))
    assert not line.transport.is_aborted
    await asyncio.sleep(0.05)
    assert line.transport.is_aborted


async def test_an_idle_client_is_not_asked_where_that_is_not_wanted():
    line = Line(manners=Manners(most_streams=9, ask_after_s=0.005, answered_within_s=1, asks_idle=False))
    await asyncio.sleep(0.02)
    assert line.written() == []
    line.feed(line.call(1, b""))
    await asyncio.sleep(0.02)
    assert [each.kind for each in line.written()] == [PING]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40)))
)
async def test_whatever_frames_come_the_connection_answers_or_ends(sent):
    line = Line(Taker(lambda connection, call: answer_some(connection, call)))
    for kind, flags, stream, payload in sent:
        line.feed(frame(kind, flags, stream, payload))
    line.written()
    line.connection.connection_lost(None)
    assert line.taker.here == 0


def answer_some(connection: Caller, call: Begun) -> None:
    if call.stream % 4 == 1:
        connection.answer(call.stream, b"answer")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 5000), "ipv4:127.0.0.1:5000"),
        (("::1", 5000, 0, 0), "ipv6:[::1]:5000"),
        ("", "unix:"),
    ],
)
async def test_who_asks_is_named_as_grpc_does(address, name):
    assert named(address) == name
