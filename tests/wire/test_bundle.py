"""Bundles in columns: what goes in comes out, and what is no bundle is refused and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from protos import stage_pb2 as pb
from server.domain.tensors import DATATYPES
from server.wire.bundle import Broken, lay, pack, read, unpack

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
    head = pb.Head(ids=range(len(parts)), rows=rows, model="m")
    message = pack(head, lay(head, parts, stacked))
    assert pb.Bundle.FromString(message).head == head, "it is protobuf for everybody else"
    said, columns = unpack(message)
    for part, again in zip(parts, read(said, columns).cut(), strict=True):
        assert list(part) == list(again)
        for name, array in part.items():
            assert array.dtype == again[name].dtype
            assert array.shape == again[name].shape
            assert array.tobytes() == again[name].tobytes() or array.tolist() == again[name].tolist()


def test_numbers_are_viewed_and_not_copied():
    head = pb.Head(ids=[1], rows=[2])
    message = pack(head, lay(head, [{"x": np.ones((2, 1000), np.float32)}], stacked=False))
    said, columns = unpack(message)
    array = read(said, columns).tensors["x"]
    assert not array.flags.owndata
    assert np.shares_memory(array, np.frombuffer(message, np.uint8))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_bundle_or_broken(content):
    try:
        head, columns = unpack(content)
        read(head, columns)
    except Broken:
        pass


@given(requests(), st.data())
def test_a_bundle_that_was_cut_or_changed_is_read_or_broken(made, data):
    stacked, parts = made
    rows = [1 if stacked else len(next(iter(part.values()))) for part in parts]
    head = pb.Head(ids=range(len(parts)), rows=rows, model="m")
    message = bytearray(pack(head, lay(head, parts, stacked)))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] = data.draw(st.integers(0, 255))
    try:
        head, columns = unpack(bytes(message[: data.draw(st.integers(at, len(message)))]))
        read(head, columns)
    except Broken:
        pass


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
            "larger than anything",
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
        read(head, columns)
