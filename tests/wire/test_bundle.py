"""Bundles in columns: what goes in comes out, and what is no bundle is refused and nothing else."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from protos import stage_pb2 as pb
from server.domain.tensors import DATATYPES
from server.wire.bundle import Reader, lay, pack, read
from server.wire.heading import Broken, Heading, Headings, heading_of

NUMBERS = [name for name in DATATYPES if name not in ("BYTES", "BF16", "BOOL")]


@st.composite
def requests(draw: st.DrawFn) -> tuple[bool, list[dict[str, np.ndarray]]]:
    """Requests with columns alike: their rows differ, unless they are stacked."""
    stacked = draw(st.booleans())
    count = draw(st.integers(1, 6))
    tensors = draw(
        st.dictionaries(
            st.text(min_size=1, max_size=5),
            st.tuples(
                st.sampled_from([*NUMBERS, "BYTES"]),
                st.lists(st.integers(0, 3), max_size=3).map(tuple),
            ),
            min_size=1,
            max_size=3,
        )
    )
    heights = [draw(st.integers(1, 4)) for _ in range(count)]
    made = []
    for height in heights:
        one = {}
        for name, (datatype, tail) in tensors.items():
            shape = tail if stacked else (height, *tail)
            if datatype == "BYTES":
                one[name] = draw(arrays.arrays(object, shape, elements=st.binary(max_size=6)))
            else:
                one[name] = draw(arrays.arrays(DATATYPES[datatype].dtype, shape))
        made.append(one)
    return stacked, made


@given(requests())
def test_what_was_laid_is_read_again(made):
    stacked, parts = made
    first = next(iter(parts[0].values()))
    rows = [1 if stacked else len(next(iter(part.values()))) for part in parts]
    assert stacked or first.ndim
    head = pb.Head(ids=range(len(parts)), rows=rows)
    heading = Headings(pb.Head(model="m")).of(parts[0], stacked=stacked)
    message = pack(head, heading, lay(parts))
    everybody = pb.Bundle.FromString(message)
    assert everybody.head == merged(heading, head), "it is protobuf for everybody else"
    for content in (message, everybody.SerializeToString()):
        again_heading, said, columns = Reader().unpack(content)
        assert again_heading.model == "m"
        assert said.ids == head.ids
        check_same(parts, list(read(again_heading, said, columns).cut()))


def merged(heading: Heading, head: pb.Head) -> pb.Head:
    whole = pb.Head.FromString(heading.said)
    whole.MergeFrom(head)
    return whole


def check_same(parts: list[dict[str, np.ndarray]], parts_again: list[dict[str, np.ndarray]]) -> None:
    for part, again in zip(parts, parts_again, strict=True):
        assert list(part) == list(again)
        for name, array in part.items():
            assert array.dtype == again[name].dtype
            assert array.shape == again[name].shape
            assert array.tobytes() == again[name].tobytes() or array.tolist() == again[name].tolist()


def test_numbers_are_viewed_and_not_copied():
    tensors = {"x": np.ones((2, 1000), np.float32)}
    heading = Headings(pb.Head()).of(tensors, stacked=False)
    message = pack(pb.Head(ids=[1], rows=[2]), heading, lay([tensors]))
    array = read(*Reader().unpack(message)).tensors["x"]
    assert not array.flags.owndata
    assert np.shares_memory(array, np.frombuffer(message, np.uint8))


def test_a_heading_is_made_once_and_read_once():
    headings = Headings(pb.Head(model="m", version=3, content="c", route=[pb.PREDICT, pb.POST]))
    one, two = ({"x": np.full((rows, 4), rows, np.float32)} for rows in (1, 2))
    heading = headings.of(one, stacked=False)
    assert headings.of(two, stacked=False) is heading
    assert headings.of(one, stacked=True) is not heading
    assert headings.of({"x": np.ones((1, 5), np.float32)}, stacked=False) is not heading
    assert headings.of({"x": np.ones((1, 4))}, stacked=False) is not heading
    read_again = Reader().unpack(pack(pb.Head(ids=[1], rows=[1]), heading, lay([one]))).heading
    assert (read_again.model, read_again.version, read_again.content) == ("m", 3, "c")
    assert read_again.route == ("predict", "post")
    assert Reader().unpack(pack(pb.Head(ids=[2], rows=[2]), heading, lay([two]))).heading is read_again
    assert heading_of(heading.said) is read_again
    long = Headings(pb.Head(model="m" * 5000)).of(one, stacked=False).said
    assert heading_of(long) is not heading_of(long), "what is long is not kept"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_bundle_or_broken(content):
    with suppress(Broken):
        read(*Reader().unpack(content))


@given(requests(), st.data())
def test_a_bundle_that_was_cut_or_changed_is_read_or_broken(made, data):
    stacked, parts = made
    rows = [1 if stacked else len(next(iter(part.values()))) for part in parts]
    head = pb.Head(ids=range(len(parts)), rows=rows)
    heading = Headings(pb.Head(model="m")).of(parts[0], stacked=stacked)
    message = bytearray(pack(head, heading, lay(parts)))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] = data.draw(st.integers(0, 255))
    with suppress(Broken):
        read(*Reader().unpack(bytes(message[: data.draw(st.integers(at, len(message)))])))


@pytest.mark.parametrize(
    ("head", "columns", "why"),
    [
        (pb.Head(ids=[1, 2], rows=[1]), [], "as many rows"),
        (pb.Head(ids=[1], rows=[1], tensors=[pb.Tensor(name="x", datatype="FP32")]), [], "as many columns"),
        (
            pb.Head(ids=[1], rows=[1], tensors=[pb.Tensor(name="x", datatype="FP31")]),
            [b""],
            "a datatype or shape that there is not",
        ),
        (
            pb.Head(ids=[1], rows=[2**31], tensors=[pb.Tensor(name="x", datatype="FP32", shape=[2**40])]),
            [b""],
            "byte size mismatch",
        ),
        (
            pb.Head(ids=[1], rows=[3], tensors=[pb.Tensor(name="x", datatype="FP32", shape=[2])]),
            [b"1234"],
            "byte size mismatch",
        ),
    ],
)
def test_columns_that_do_not_fit_their_head_are_refused(head, columns, why):
    with pytest.raises(Broken, match=why):
        read(Heading.of(head), head, columns)
