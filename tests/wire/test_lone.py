"""What goes alone is written without protobuf, and is protobuf: both ways to read it say the same."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import stage_pb2 as pb
from server.domain.stage import STAGES, Span
from server.domain.tensors import DATATYPES
from server.wire.bundle import Reader, lay, pack, read
from server.wire.heading import Broken, Heading, Headings
from server.wire.lone import pack_answer, pack_request
from server.wire.stage_numbers import STAGE_NAMES

FIXED = [name for name in DATATYPES if name not in ("BYTES", "BF16", "BOOL")]
words = st.integers(0, 2**64 - 1)
halves = st.integers(0, 2**32 - 1)
spans = st.builds(Span, st.sampled_from(STAGES), words, words, halves, words)


@st.composite
def lone(draw: st.DrawFn) -> tuple[Heading, int, dict[str, np.ndarray]]:
    """A heading, rows, and tensors of so many."""
    rows = draw(st.integers(1, 5))
    tensors = {}
    for name in draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=3, unique=True)):
        shape = (rows, *draw(st.lists(st.integers(1, 8), max_size=2)))
        content = np.random.default_rng(draw(halves)).integers(0, 100, shape)
        tensors[name] = content.astype(DATATYPES[draw(st.sampled_from(FIXED))].dtype)
    return Headings(pb.Head(model="m", version=7)).of(tensors, stacked=False), rows, tensors


def reader(heading: Heading) -> Reader:
    """One that has read something with this heading."""
    begun = Reader()
    begun.unpack(pack(pb.Head(), heading))
    return begun


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return list(one) == list(other) and all(
        array.dtype == other[name].dtype and np.array_equal(array, other[name]) for name, array in one.items()
    )


@given(lone(), words)
def test_a_request_is_read_as_it_was_written_and_as_protobuf_reads_it(asked, number):
    heading, rows, tensors = asked
    message = pack_request(heading, number, rows, tensors)
    assert message is not None
    read_alone = reader(heading).lone_request(message)
    assert read_alone is not None
    assert (read_alone.heading.said, read_alone.number, read_alone.rows) == (heading.said, number, rows)
    assert same(read_alone.tensors, tensors)
    assert pb.Bundle.FromString(message).head.model == "m"
    bundle = Reader().unpack(message)
    assert bundle.head == pb.Head(ids=[number], rows=[rows])
    assert same(read(*bundle).tensors, tensors)
    assert reader(heading).lone_answer(message) is None


@given(lone(), words, spans)
def test_an_answer_is_read_as_it_was_written_and_as_protobuf_reads_it(given_back, number, span):
    heading, rows, tensors = given_back
    message = pack_answer(heading, number, rows, tensors, span)
    assert message is not None
    read_alone = reader(heading).lone_answer(message)
    assert read_alone is not None
    assert (read_alone.number, read_alone.span) == (number, span)
    assert same(read_alone.tensors, tensors)
    bundle = Reader().unpack(message)
    assert (list(bundle.head.ids), list(bundle.head.rows)) == ([number], [rows])
    (told,) = bundle.head.spans
    assert span == Span(STAGE_NAMES[told.stage], told.queue_ns, told.compute_ns, told.rows, told.transfer_ns)
    assert same(read(*bundle).tensors, tensors)
    assert reader(heading).lone_request(message) is None


@given(st.lists(lone(), min_size=1, max_size=4))
def test_those_of_several_models_come_by_one_stream_in_any_order(several):
    by_one_stream = Reader()
    for _ in range(2):
        for number, (heading, rows, tensors) in enumerate(several):
            message = pack_request(heading, number, rows, tensors)
            assert message is not None
            found = by_one_stream.lone_request(message)
            assert found is not None
            assert (found.number, found.rows) == (number, rows)
            assert same(found.tensors, tensors)
            assert by_one_stream.unpack(pack(pb.Head(leaving=True))).head.leaving


@given(lone(), words)
def test_what_protobuf_has_written_is_read_too(asked, number):
    heading, rows, tensors = asked
    message = pack(pb.Head(ids=[number], rows=[rows]), heading, lay([tensors]))
    read_alone = reader(heading).lone_request(message)
    if read_alone is not None:
        assert (read_alone.number, read_alone.rows) == (number, rows)
        assert same(read_alone.tensors, tensors)
    assert (message == pack_request(heading, number, rows, tensors)) == (read_alone is not None)


@given(lone(), spans, st.data())
def test_what_was_cut_or_changed_is_nothing_that_was_not_written_so(asked, span, data):
    heading, rows, tensors = asked
    for message in (pack_request(heading, 5, rows, tensors), pack_answer(heading, 5, rows, tensors, span)):
        assert message is not None
        changed = bytearray(message)
        at = data.draw(st.integers(0, len(message) - 1))
        changed[at] = data.draw(st.integers(0, 255))
        content = bytes(changed[: data.draw(st.integers(at, len(message)))])
        for look in (Reader.lone_request, Reader.lone_answer):
            with suppress(Broken):
                found = look(reader(heading), content)
                assert found is None or len(content) == len(message), "what is cut is never read so"
        with suppress(Broken):
            read(*reader(heading).unpack(content))


@pytest.mark.parametrize(
    ("tensors", "stacked"),
    [
        ({"x": np.ones((1, 2000), np.float32)}, False),
        ({"x": np.ones((1, 2), np.bool_)}, False),
        ({"x": np.array([[b"text"]], object)}, False),
        ({"x": np.ones((1, 2), np.float32)}, True),
        ({"x": np.ones((1, 0), np.float32)}, False),
    ],
    ids=["large", "truths", "texts", "without rows", "empty"],
)
def test_whatever_is_not_small_and_of_one_size_goes_as_all_others_do(tensors, stacked):
    heading = Headings(pb.Head()).of(tensors, stacked=stacked)
    assert pack_request(heading, 1, 1, tensors) is None
    assert pack_answer(heading, 1, 1, tensors, Span("predict", 1, 2, 3)) is None
    large = pack(pb.Head(ids=[1], rows=[1]), heading, lay([tensors]))
    (again,) = read(*Reader().unpack(large)).cut()
    assert same(again, tensors)
