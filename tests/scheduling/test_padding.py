"""Padding as arithmetic on arrays: what goes in comes back, whatever the lengths and the row counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import InferenceFailed, InvalidRequest
from server.scheduling.padding import MadeInput, PaddedInput, PadRule, drop_rows, fill_rows

INT64 = np.dtype(np.int64)
BUCKETS = st.sets(st.integers(1, 40), min_size=1, max_size=5).map(lambda sizes: tuple(sorted(sizes)))
LENGTHS = st.integers(0, 50)


def rule(buckets: tuple[int, ...] = (4, 8), **facts) -> PadRule:
    """Pads ids (rows, length) with 9, unless told otherwise."""
    facts.setdefault("inputs", {"ids": PaddedInput(1, np.int64(9))})
    facts.setdefault("outputs", {"words": (1,)})
    return PadRule(model="m", version=1, batches=True, buckets=buckets, **facts)


def ids(rows: int, length: int) -> np.ndarray:
    return np.arange(rows * length).reshape(rows, length)


@given(buckets=BUCKETS, length=LENGTHS)
def test_a_request_goes_by_the_smallest_bucket_that_holds_it(buckets, length):
    holds = [bucket for bucket in buckets if bucket >= length]
    if holds:
        assert rule(buckets).bucket(length, "ids") == min(holds)
    else:
        with pytest.raises(InvalidRequest, match=f"has length {length}, but the longest that it takes is"):
            rule(buckets).bucket(length, "ids")


@given(buckets=BUCKETS, length=LENGTHS, rows=st.integers(1, 4), width=st.integers(1, 3))
def test_what_is_padded_and_cut_back_is_as_it_was(buckets, length, rows, width):
    if length > buckets[-1]:
        return
    asked = np.random.default_rng(length).normal(size=(rows, width, length)).astype(np.float32)
    padding = rule(buckets, inputs={"x": PaddedInput(2, np.float32(9))}, outputs={"y": (2,)})
    padded = padding.pad({"x": asked})
    longer = padded.inputs["x"]
    assert longer.shape == (rows, width, padding.bucket(length, "x"))
    assert (longer[:, :, length:] == 9).all()
    assert (padded.real, padded.added) == (asked.size, longer.size - asked.size)
    cut = padded.cut({"y": longer, "other": longer[:, :, :1]})
    np.testing.assert_array_equal(cut["y"], asked)
    assert cut["other"].shape == (rows, width, 1), "what is not as long as the bucket is left alone"


def test_a_request_as_long_as_its_bucket_is_not_copied():
    asked = {"ids": ids(2, 4)}
    padded = rule().pad(asked)
    assert padded.inputs["ids"] is asked["ids"]
    outputs = {"words": np.ones((2, 4))}
    assert padded.cut(outputs) is outputs


def test_a_mask_and_a_length_are_made_for_a_request_that_sends_none():
    padding = rule(mask=MadeInput("mask", INT64, (-1,)), length=MadeInput("count", INT64, (1,)))
    inputs = padding.pad({"ids": ids(2, 3)}).inputs
    assert inputs["mask"].tolist() == [[1, 1, 1, 0]] * 2
    assert inputs["count"].tolist() == [[3], [3]]
    assert (inputs["mask"].dtype, inputs["count"].dtype) == (np.int64, np.int64)


def test_a_mask_may_have_dimensions_of_one_around_its_own():
    padding = rule(mask=MadeInput("mask", np.dtype(np.bool_), (1, 1, -1)))
    assert padding.pad({"ids": ids(1, 3)}).inputs["mask"].tolist() == [[[[True, True, True, False]]]]


def test_a_clients_own_mask_is_padded_with_0_and_its_length_is_left_alone():
    padding = rule(
        inputs={"ids": PaddedInput(1, np.int64(9)), "mask": PaddedInput(1, np.int64(0))},
        mask=MadeInput("mask", INT64, (-1,)),
        length=MadeInput("count", INT64, ()),
    )
    sent = {"ids": ids(1, 3), "mask": np.array([[1, 1, 0]]), "count": np.array([2])}
    padded = padding.pad(sent)
    assert padded.inputs["mask"].tolist() == [[1, 1, 0, 0]]
    assert padded.inputs["count"] is sent["count"]
    assert (padded.real, padded.added) == (3, 1), "a mask is no element of the request"


def test_without_a_batch_dimension_arrays_are_padded_whole():
    padding = PadRule(
        model="m",
        version=1,
        batches=False,
        buckets=(4,),
        inputs={"ids": PaddedInput(0, np.int64(0))},
        mask=MadeInput("mask", INT64, (-1,)),
        length=MadeInput("count", INT64, (1,)),
    )
    inputs = padding.pad({"ids": np.array([5, 6])}).inputs
    assert {name: array.tolist() for name, array in inputs.items()} == {
        "ids": [5, 6, 0, 0],
        "mask": [1, 1, 0, 0],
        "count": [2],
    }


def test_bytes_are_padded_with_bytes():
    padding = rule(inputs={"said": PaddedInput(1, b"-")})
    longer = padding.pad({"said": np.array([[b"a", b"b"]], object)}).inputs["said"]
    assert longer.tolist() == [[b"a", b"b", b"-", b"-"]]
    assert {type(element) for element in longer.ravel()} == {bytes}


def test_inputs_that_are_padded_together_must_have_one_length():
    padding = rule(inputs={name: PaddedInput(1, np.int64(0)) for name in ("ids", "types")})
    assert padding.pad({"ids": ids(1, 3), "types": ids(1, 3)}).inputs["types"].shape == (1, 4)
    with pytest.raises(InvalidRequest, match=r"inputs 'ids' and 'types' .* same length, but have 3 and 2"):
        padding.pad({"ids": ids(1, 3), "types": ids(1, 2)})


def test_an_input_that_may_be_left_out_and_is_is_not_padded():
    padding = rule(inputs={name: PaddedInput(1, np.int64(0)) for name in ("ids", "types")})
    assert padding.pad({"ids": ids(1, 3)}).inputs.keys() == {"ids"}
    nothing = padding.pad({"other": ids(1, 3)})
    assert nothing.inputs["other"].shape == (1, 3)
    assert nothing.cut({"words": ids(1, 7)})["words"].shape == (1, 7)


def test_an_output_can_be_cut_back_in_two_dimensions():
    padded = rule(outputs={"scores": (1, 2)}).pad({"ids": ids(1, 3)})
    assert padded.cut({"scores": np.ones((1, 4, 4))})["scores"].shape == (1, 3, 3)


def test_an_output_that_the_operator_named_must_be_as_long_as_its_bucket():
    outputs = {"words": np.ones((1, 2))}
    assert rule().pad({"ids": ids(1, 3)}).cut(outputs)["words"].shape == (1, 2)
    with pytest.raises(InferenceFailed, match=r"output 'words' has shape \[1, 2\], where tercet.pad_outputs"):
        rule(certain=True).pad({"ids": ids(1, 3)}).cut(outputs)


@given(sizes=BUCKETS, rows=st.integers(1, 50))
def test_a_run_is_filled_up_to_the_next_row_count_and_cut_back_to_what_came(sizes, rows):
    inputs = {"x": ids(rows, 2), "said": np.full((rows, 1), b"a", object)}
    filled, count = fill_rows(inputs, sizes)
    assert count == min([size for size in sizes if size >= rows], default=rows)
    assert {len(array) for array in filled.values()} == {count}
    assert (filled["x"][rows:] == inputs["x"][-1]).all(), "the last row, which the model can take"
    back = drop_rows(filled, rows, count)
    np.testing.assert_array_equal(back["x"], inputs["x"])


def test_a_run_of_a_liked_row_count_is_not_copied():
    inputs = {"x": ids(4, 2)}
    assert fill_rows(inputs, (2, 4))[0] is inputs


def test_an_output_without_a_row_for_each_is_left_for_others_to_refuse():
    outputs = {"y": np.ones((8, 2)), "sum": np.ones((1, 2)), "one": np.array(3.0)}
    assert {name: array.shape for name, array in drop_rows(outputs, 5, 8).items()} == {
        "y": (5, 2),
        "sum": (1, 2),
        "one": (),
    }
