"""The best classes of an output."""

import ml_dtypes
import numpy as np
import pytest

from server.domain.errors import InvalidRequest
from server.wire.classification import classes_of


def test_each_row_is_ranked_by_itself_best_first():
    scores = np.array([[0.1, 0.9, 0.5], [3.0, 2.0, 1.0]], np.float32)
    assert classes_of("Y", scores, 2, ("a", "b", "c"), batched=True).tolist() == [
        [b"0.900000:1:b", b"0.500000:2:c"],
        [b"3.000000:0:a", b"2.000000:1:b"],
    ]


def test_without_a_batch_dimension_the_shape_is_the_number_of_classes():
    assert classes_of("Y", np.array([1, 7, 7], np.int64), 2, (), batched=False).tolist() == [b"7:1", b"7:2"]


def test_there_are_no_more_classes_than_the_output_has():
    assert classes_of("Y", np.zeros((2, 3), np.float64), 9, (), batched=True).shape == (2, 3)


def test_an_output_without_rows_has_no_classes():
    assert classes_of("Y", np.zeros((0, 3), np.float32), 2, (), batched=True).shape == (0, 0)


def test_nan_is_worst():
    assert classes_of("Y", np.array([np.nan, 1, 2], np.float32), 1, (), batched=False).tolist() == [
        b"2.000000:2"
    ]


def test_half_floats_are_ranked_like_others():
    for dtype in (np.float16, ml_dtypes.bfloat16):
        assert classes_of("Y", np.array([1, 2], dtype), 1, (), batched=False).tolist() == [b"2.000000:1"]


def test_large_whole_numbers_are_ranked_exactly():
    scores = np.array([2**63, 2**63 + 1], np.uint64)
    assert classes_of("Y", scores, 1, (), batched=False).tolist() == [b"9223372036854775809:1"]


def test_an_output_without_numbers_cannot_be_ranked():
    with pytest.raises(InvalidRequest, match="'Y' has no numbers"):
        classes_of("Y", np.array([b"x"], dtype=object), 1, (), batched=False)
