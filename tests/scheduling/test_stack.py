"""Requests are joined into one run, and the run is dealt out again, whatever they hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.scheduling.stack import RowsLost, split, stack

DTYPES = ("?", "i1", "u2", "i4", "i8", "f2", "f4", "f8", "O")


def filled(shape: tuple[int, ...], dtype: str, start: int) -> np.ndarray:
    values = np.arange(start, start + int(np.prod(shape))).reshape(shape)
    if dtype == "O":
        return np.array([str(each).encode() for each in values.flat], np.object_).reshape(shape)
    return values.astype(dtype)


def lies(array: np.ndarray, how: str) -> np.ndarray:
    """The same elements, lying otherwise in memory."""
    match how:
        case "by columns":
            return np.asfortranarray(array)
        case "every other":
            wide = np.repeat(array, 2, axis=0)
            return wide[::2]
        case "read only":
            array.flags.writeable = False
    return array


@st.composite
def batches(draw):
    """Requests with the same names, datatypes and row shapes, each with rows of its own."""
    columns = draw(
        st.lists(
            st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=2).map(tuple)),
            min_size=1,
            max_size=3,
        )
    )
    ways = st.sampled_from(("as it comes", "by columns", "every other", "read only"))
    rows = draw(st.lists(st.integers(1, 3) | st.just(1), min_size=1, max_size=6))
    return rows, [
        {
            f"x{at}": lies(filled((count, *rest), dtype, 100 * number + at), draw(ways))
            for at, (dtype, rest) in enumerate(columns)
        }
        for number, count in enumerate(rows)
    ]


@given(batches())
def test_a_run_has_the_rows_of_all_in_their_order(batch):
    _, requests = batch
    stacked = stack(requests)
    assert list(stacked) == list(requests[0])
    for name, array in stacked.items():
        whole = np.concatenate([request[name] for request in requests])
        assert (array.dtype, array.shape) == (whole.dtype, whole.shape)
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, whole)


@given(batches())
def test_each_gets_its_own_rows_back(batch):
    rows, requests = batch
    for share, request in zip(split(stack(requests), rows), requests, strict=True):
        assert list(share) == list(request)
        for name, array in share.items():
            assert (array.dtype, array.shape) == (request[name].dtype, request[name].shape)
            np.testing.assert_array_equal(array, request[name])


@pytest.mark.parametrize("rows", [[1, 1], [1, 2], [3]])
def test_outputs_without_a_row_for_each_are_nobodys(rows):
    with pytest.raises(RowsLost, match=r"'y' has shape \[4, 2\]"):
        split({"x": np.zeros((sum(rows), 2)), "y": np.zeros((4, 2))}, rows)


def test_who_shares_a_run_gets_views_and_no_copies():
    outputs = {"y": np.arange(6.0).reshape(3, 2)}
    for rows in ([1, 1, 1], [1, 2]):
        assert all(np.shares_memory(share["y"], outputs["y"]) for share in split(outputs, rows))
