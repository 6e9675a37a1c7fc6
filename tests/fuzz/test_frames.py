"""Frames of HTTP/2: good calls among frames that are wrong, or come at another time."""

import socket
from collections import Counter
from collections.abc import Iterator

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from server.http2 import frames
from server.http2.frames import ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, frame
from server.http2.head_blocks import literal
from tests.contract.question import RAW
from tests.e2e.http2 import Frame
from tests.fuzz.harm import GOOD, Watched
from tests.http2.line import fields_of, message
from tests.server_process import Server

many = settings(settings.get_profile("fuzz"))

SERVICE = b"/inference.GRPCInferenceService/"
INFER, LIVE, NONE = SERVICE + b"ModelInfer", SERVICE + b"ServerLive", SERVICE + b"Nothing"
QUESTION = message(GOOD.over_grpc(RAW).SerializeToString())
END = b"the end!"
LAST_STREAM = 101
PATIENCE_S = 20

STREAMS = st.sampled_from([1, 3, 5, 7, 9]) | st.sampled_from([0, 2, 99])
STEPS = st.sampled_from(
    [
        *("call", "call in pieces", "other call", "no such call", "head alone", "body alone", "odd head"),
        *("settings", "window", "reset", "ping", "priority", "goaway", "continuation", "anything"),
    ]
)


@st.composite
def scripts(draw: st.DrawFn) -> bytes:
    """What one client sends, after its greeting."""
    encoder, sent = Encoder(), bytearray(PREFACE + frames.settings({}))
    if draw(st.booleans()):
        encoder.header_table_size = 0

    def head(stream: int, path: bytes, *more: tuple[bytes, bytes], flags: int = END_HEADERS) -> bytes:
        return frame(HEADERS, flags, stream, encoder.encode(fields_of(path, *more)))

    for _ in range(draw(st.integers(1, 8))):
        stream = draw(STREAMS)
        match draw(STEPS):
            case "call":
                sent += head(stream, INFER) + frame(DATA, END_STREAM, stream, QUESTION)
            case "call in pieces":
                at = draw(st.integers(0, len(QUESTION)))
                pieces = frame(DATA, 0, stream, QUESTION[:at]), frame(DATA, END_STREAM, stream, QUESTION[at:])
                sent += head(stream, INFER) + b"".join(pieces)
            case "other call":
                sent += head(stream, LIVE) + frame(DATA, END_STREAM, stream, message(b""))
            case "no such call":
                sent += head(stream, NONE) + frame(DATA, END_STREAM, stream, message(b""))
            case "head alone":
                sent += head(stream, draw(st.sampled_from([INFER, LIVE])), flags=draw(st.integers(0, 255)))
            case "body alone":
                sent += frame(DATA, draw(st.integers(0, 255)), stream, draw(st.binary(max_size=30)))
            case "odd head":
                field = draw(st.tuples(st.binary(max_size=9), st.binary(max_size=9)))
                sent += head(stream, INFER, field) + frame(DATA, END_STREAM, stream, QUESTION)
            case "settings":
                values = st.dictionaries(st.integers(0, 9), st.integers(0, 2**32 - 1), max_size=3)
                sent += frames.settings(draw(values))
            case "window":
                sent += frames.window_update(stream, draw(st.integers(0, 2**32 - 1)))
            case "reset":
                sent += frames.reset(stream, draw(st.integers(0, 20)))
            case "ping":
                sent += frame(PING, draw(st.integers(0, 1)), 0, draw(st.binary(min_size=8, max_size=8)))
            case "priority":
                sent += frame(frames.PRIORITY, 0, stream, draw(st.binary(min_size=5, max_size=5)))
            case "goaway":
                sent += frames.goaway(stream, 0, draw(st.text(max_size=5)))
            case "continuation":
                sent += frame(frames.CONTINUATION, draw(st.integers(0, 255)), stream, draw(st.binary()))
            case _:
                kind, flags = draw(st.integers(0, 12)), draw(st.integers(0, 255))
                sent += frame(kind, flags, stream, draw(st.binary(max_size=40)))
    return bytes(sent)


class Client:
    """One connection; what does not come in time is a `TimeoutError`."""

    def __init__(self, server: Server) -> None:
        host, _, port = server.grpc.partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self._unread = b""

    def send(self, content: bytes) -> bool:
        """False if the server has hung up, and says so by not taking it."""
        try:
            self.socket.sendall(content)
        except OSError:
            return False
        return True

    def frames(self) -> Iterator[Frame]:
        """Until the connection ends."""
        while True:
            while len(self._unread) >= 9:
                high, low, kind, flags, stream = frames.HEAD.unpack_from(self._unread)
                stop = 9 + (high << 16 | low)
                if stop > len(self._unread):
                    break
                yield Frame(kind, flags, stream, self._unread[9:stop])
                self._unread = self._unread[stop:]
            try:
                received = self.socket.recv(65_536)
            except ConnectionError:
                return
            if not received:
                return
            self._unread += received


@pytest.fixture
def watched(server: Server) -> Iterator[Server]:
    with Watched(server):
        yield server


@many
@given(scripts(), st.data())
def test_any_frames_are_answered_or_end_their_connection_and_nothing_else(
    watched: Server, script: bytes, data: st.DataObject
):
    client = Client(watched)
    with client.socket:
        at = 0
        while at < len(script):
            size = data.draw(st.integers(1, len(script)))
            if not client.send(script[at : at + size]):
                break
            at += size
        client.send(frame(PING, 0, 0, END))
        ended: Counter[int] = Counter()
        for sent in client.frames():
            if sent.kind in (DATA, HEADERS):
                assert not ended[sent.stream], "something comes after the end of an answer"
                ended[sent.stream] += sent.flags & END_STREAM
            if sent.kind == PING and sent.flags & ACK and sent.payload == END:
                assert_answers(client)
                return


def assert_answers(client: Client) -> None:
    """A call after all that is answered, on the same connection."""
    head = b"".join(literal(name, value) for name, value in fields_of(INFER))
    client.send(
        frames.settings({frames.INITIAL_WINDOW_SIZE: 65_535})
        + frame(HEADERS, END_HEADERS, LAST_STREAM, head)
        + frame(DATA, END_STREAM, LAST_STREAM, QUESTION)
    )
    for sent in client.frames():
        if sent.stream == LAST_STREAM and sent.flags & END_STREAM:
            assert sent.payload.endswith(literal(b"grpc-status", b"0")), sent
            return
    raise AssertionError("the connection has ended")


@many
@given(scripts(), st.integers(0, 300))
def test_a_client_that_leaves_in_the_midst_of_anything_leaves_nothing_behind(
    watched: Server, script: bytes, size: int
):
    client = Client(watched)
    with client.socket:
        client.send(script[:size])
