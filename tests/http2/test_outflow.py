"""What waits until the other side has room: never more than that, in order, and to the last byte."""

from hypothesis import given, settings
from hypothesis import strategies as st

from server.http2 import frames
from server.http2.outflow import Outflow, with_the_data


def ending() -> bytes:
    return frames.frame(frames.HEADERS, frames.END_STREAM, 1)


class Far:
    """The other side, which counts what it gets."""

    def __init__(self) -> None:
        self.content: dict[int, bytes] = {}
        self.ended: list[int] = []
        self.over: list[int] = []
        self.largest = 0
        self._raw = bytearray()
        self.out = Outflow(self._taken, self.over.append)

    def _taken(self, content: bytes | memoryview) -> None:
        self._raw += content
        while len(self._raw) >= frames.HEAD_BYTES:
            high, low, kind, flags, stream = frames.HEAD.unpack_from(self._raw)
            size = high << 16 | low
            if len(self._raw) < frames.HEAD_BYTES + size:
                return
            payload = bytes(self._raw[frames.HEAD_BYTES : frames.HEAD_BYTES + size])
            del self._raw[: frames.HEAD_BYTES + size]
            if kind == frames.DATA:
                assert stream not in self.ended
                self.largest = max(self.largest, size)
                self.content[stream] = self.content.get(stream, b"") + payload
            if flags & frames.END_STREAM:
                self.ended.append(stream)


def test_what_there_is_room_for_goes_out_at_once_and_its_ending_behind_it():
    far, sent = Far(), []
    far.out.send(1, b"chunk", ending, sent.append)
    assert (far.content, far.ended, far.over, sent) == ({1: b"chunk"}, [1], [1], [5])


def test_an_ending_may_be_the_last_data_or_data_of_nothing():
    far = Far()
    far.out.send(1, b"chunk", with_the_data)
    far.out.send(3, b"", with_the_data)
    assert (far.content, far.ended) == ({1: b"chunk", 3: b""}, [1, 3])


def test_a_stream_that_has_no_room_does_not_hold_up_another():
    far = Far()
    far.out.grant_all(100_000)
    far.out.send(1, bytes(70_000), ending)
    far.out.send(3, b"chunk", with_the_data)
    assert far.ended == [3]
    far.out.grant(1, 10_000)
    assert far.ended == [3, 1]
    assert len(far.content[1]) == 70_000


def test_what_is_dropped_is_told_and_goes_nowhere():
    far = Far()
    far.out.send(1, bytes(70_000), ending)
    assert far.out.drop(1) == 70_000 - 65_535
    far.out.grant_all(70_000)
    assert (len(far.content[1]), far.ended, far.over) == (65_535, [], [])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from((1, 3, 5)), st.integers(0, 3000)), max_size=12),
    st.lists(st.tuples(st.sampled_from((0, 1, 3, 5)), st.integers(1, 3000)), max_size=40),
    st.integers(0, 2000),
    st.integers(1, 500),
)
def test_however_room_is_made_it_is_kept_to_and_nothing_is_lost(chunks, grants, initial, frame):
    far = Far()
    far.out.window, far.out.initial, far.out.frame = initial * 2, initial, frame
    room, room_of = initial * 2, dict.fromkeys((1, 3, 5), initial)
    whole: dict[int, bytes] = {}
    for number, (stream, size) in enumerate(chunks):
        chunk = bytes((number,)) * size
        whole[stream] = whole.get(stream, b"") + chunk
        far.out.send(stream, chunk, None)
    for stream, bytes_ in grants:
        if stream:
            far.out.grant(stream, bytes_)
            room_of[stream] += bytes_
        else:
            far.out.grant_all(bytes_)
            room += bytes_
        assert sum(map(len, far.content.values())) <= room
        assert all(len(content) <= room_of[each] for each, content in far.content.items())
    assert far.largest <= frame
    far.out.grant_all(100_000)
    for stream in whole:
        far.out.grant(stream, 100_000)
        far.out.send(stream, b"", with_the_data)
    assert {each: content for each, content in far.content.items() if content} == {
        each: content for each, content in whole.items() if content
    }
    assert sorted(far.ended) == sorted(whole)
