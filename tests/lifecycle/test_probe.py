"""The batching probe: what it asks, and what it makes of the answers."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.tensors import DATATYPES, TensorSpec
from server.lifecycle.agreement import parting, within
from server.lifecycle.probe import alone, findings, ladder, made_up, rows_of

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 60.0]], np.float32)


def singles(together: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [{"y": together[row : row + 1]} for row in range(len(together))]


def said(together: np.ndarray, apart: np.ndarray) -> list[tuple[str, bool]]:
    return [(each.sentence, each.wrong) for each in findings({"y": together}, singles(apart))]


def test_a_batch_that_answers_as_its_rows_gives_nothing_to_say():
    assert said(ROWS, ROWS) == []


def test_rounding_is_nothing_to_say_a_little_more_a_doubt_and_much_is_wrong():
    assert said(ROWS * np.float32(1 + 5e-6), ROWS) == []
    ((_, wrong),) = said(ROWS * np.float32(1 + 1e-4), ROWS)
    assert not wrong
    ((sentence, wrong),) = said(ROWS + np.float32([[0, 0], [0, 0], [0, 6]]), ROWS)
    assert wrong
    assert sentence == "output 'y' of row 2 is 66 in a batch and 60 alone (off by 0.1 of its largest number)"


@pytest.mark.parametrize(("datatype", "off"), [("FP16", 2e-3), ("BF16", 2e-2)])
def test_a_coarser_datatype_may_be_off_by_more(datatype, off):
    rows = ROWS.astype(DATATYPES[datatype].dtype)
    assert said((ROWS * (1 + off)).astype(rows.dtype), rows) == []
    assert said((ROWS * 2).astype(rows.dtype), rows)[0][1]


@pytest.mark.parametrize("dtype", [np.int64, np.bool_])
def test_whole_numbers_and_truth_are_exact(dtype):
    rows = np.array([[0], [1]], dtype)
    assert said(rows, rows) == []
    assert said(rows[::-1], rows)[0][1]


def test_text_is_exact():
    rows = np.array([[b"a"], [b"b"]], object)
    assert said(rows, rows) == []
    assert said(rows[::-1].copy(), rows) == [("output 'y' of row 0 is 'b' in a batch and 'a' alone", True)]


def test_an_answer_with_fewer_rows_cannot_be_shared_out():
    assert said(ROWS[:1], ROWS) == [
        ("output 'y' has shape [1, 2] for a batch of 3 rows, so its rows cannot be told apart", True)
    ]


def test_rows_that_grow_in_company_are_wrong():
    ((sentence, wrong),) = said(np.ones((3, 4), np.float32), ROWS)
    assert (sentence, wrong) == ("output 'y' has rows of shape [4] in a batch and of shape [2] alone", True)


def test_nan_agrees_with_nan_and_with_nothing_else():
    nan = np.array([[np.nan], [np.inf]], np.float32)
    assert said(nan, nan) == []
    assert said(nan, np.array([[1], [np.inf]], np.float32))[0][1]


@given(st.lists(st.floats(allow_nan=True, width=32), min_size=1), st.floats(0, 1))
def test_whatever_it_is_it_agrees_with_itself(values, tolerance):
    array = np.array(values, np.float32)
    assert parting(array, array.copy(), within(tolerance)) is None


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e-2))
def test_a_tolerance_is_absolute_and_relative(number, tolerance):
    expected = np.array([number])
    allowed = tolerance + tolerance * abs(number)
    assert parting(expected, expected + 0.9 * allowed, within(tolerance)) is None
    assert parting(expected, expected + 1.1 * allowed + 1e-9, within(tolerance)) is not None


def test_the_worst_place_is_the_one_that_is_told():
    part = parting(ROWS, ROWS + np.float32([[0.1, 0], [0, -3], [0, 0]]), within(1e-4))
    assert str(part) == "1 at [1, 1] where 4 was expected"


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "BYTES"])
def test_made_up_input_is_the_same_every_time_and_of_the_datatype(datatype):
    specs = [TensorSpec("x", datatype, (-1, 3, -1))]
    one, two = (made_up(specs, frozenset(), rows=2, length=8) for _ in range(2))
    assert one["x"].shape == (2, 3, 8)
    assert one["x"].dtype == DATATYPES[datatype].dtype
    np.testing.assert_array_equal(one["x"].astype(float), two["x"].astype(float))


def test_text_cannot_be_made_up_and_optional_inputs_are_left_out():
    specs = [TensorSpec("x", "FP32", (-1,)), TensorSpec("hint", "BYTES", (-1,))]
    assert made_up(specs, frozenset(), rows=1, length=8) is None
    assert made_up(specs, frozenset({"hint"}), rows=1, length=8).keys() == {"x"}


@pytest.mark.parametrize(
    "row",
    [np.array([[1.0, 2.0]], np.float32), np.array([[1, 2]], np.int64), np.array([[b"a", b"b"]], object)],
)
def test_rows_made_from_one_are_not_all_the_same(row):
    rows = rows_of({"x": row}, 4)["x"]
    assert (rows.shape, rows.dtype) == ((4, 2), row.dtype)
    np.testing.assert_array_equal(rows[:1], row)
    assert rows[1].tolist() != rows[0].tolist()


def test_rows_of_bfloat16_keep_their_datatype():
    rows = rows_of({"x": np.array([[1, 2]], ml_dtypes.bfloat16)}, 3)["x"]
    assert rows.dtype == ml_dtypes.bfloat16
    assert float(rows[1, 0]) > 1


def test_whole_numbers_stay_among_those_that_the_example_has():
    rows = rows_of({"x": np.array([[7, 9, 11]])}, 4)["x"]
    assert {tuple(sorted(row)) for row in rows.tolist()} == {(7, 9, 11)}


def test_a_row_alone_is_a_request_of_one_row():
    np.testing.assert_array_equal(alone({"x": ROWS}, 1)["x"], [[3, 4]])


@pytest.mark.parametrize(
    ("most", "sizes"), [(0, [1]), (1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_a_profile_climbs_in_doubles_to_the_largest_batch(most, sizes):
    assert ladder(most) == sizes
