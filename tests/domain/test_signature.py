"""What a version takes and gives, and which requests fit it."""

import numpy as np
import pytest

from runtimes.tensors import TensorSpec
from server.domain.errors import InvalidRequest
from server.domain.signature import Signature

X, N = TensorSpec("x", "FP32", (-1, 2)), TensorSpec("n", "INT64", (-1, -1))
Y = TensorSpec("y", "FP32", (-1, 1))
BATCHED = Signature("m", [X], [Y], max_batch_size=4)
TWO = Signature("m", [X, N], [Y], max_batch_size=4)
WHOLE = Signature("m", [TensorSpec("x", "FP32", (2, -1))], [TensorSpec("y", "FP32", (2,))], max_batch_size=0)


def rows(count: int, *rest: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros((count, *rest), dtype)


def test_a_request_that_fits_has_as_many_rows_as_its_inputs():
    assert BATCHED.rows({"x": rows(1, 2)}) == 1
    assert BATCHED.rows({"x": rows(4, 2)}) == 4
    assert TWO.rows({"x": rows(3, 2), "n": rows(3, 9, dtype=np.int64)}) == 3


def test_a_model_without_a_batch_dimension_is_asked_once_at_a_time():
    assert WHOLE.rows({"x": rows(2, 7)}) == 1


def test_a_scalar_fits_a_model_that_takes_one():
    scalar = Signature("m", [TensorSpec("x", "FP32", ())], [], max_batch_size=0)
    assert scalar.rows({"x": np.array(1, np.float32)}) == 1
    with pytest.raises(InvalidRequest, match=r"Expected \[\], got \[1\]"):
        scalar.rows({"x": rows(1)})


@pytest.mark.parametrize(
    ("signature", "inputs", "sentence"),
    [
        (
            BATCHED,
            {"x": rows(1, 3)},
            "unexpected shape for input 'x' for model 'm'. Expected [-1,2], got [1,3]",
        ),
        (BATCHED, {"x": rows(2)}, "unexpected shape for input 'x' for model 'm'. Expected [-1,2], got [2]"),
        (
            BATCHED,
            {"x": np.array(1, np.float32)},
            "unexpected shape for input 'x' for model 'm'. Expected [-1,2], got []",
        ),
        (
            WHOLE,
            {"x": rows(3, 1)},
            "unexpected shape for input 'x' for model 'm'. Expected [2,-1], got [3,1]",
        ),
        (BATCHED, {"x": rows(5, 2)}, "inference request batch-size must be <= 4 for 'm', got 5"),
        (BATCHED, {"x": rows(0, 2)}, "inference request batch-size must be >= 1 for 'm', got 0"),
        (
            BATCHED,
            {"x": rows(1, 2, dtype=np.float64)},
            "inference input 'x' data-type is 'FP64', but model 'm' expects 'FP32'",
        ),
        (BATCHED, {"z": rows(1, 2)}, "unexpected inference input 'z' for model 'm'; it takes 'x'"),
        (TWO, {"x": rows(1, 2)}, "expected 2 inputs but got 1 inputs for model 'm': missing 'n'"),
        (TWO, {}, "expected 2 inputs but got 0 inputs for model 'm': missing 'x', 'n'"),
        (
            TWO,
            {"x": rows(2, 2), "n": rows(3, 1, dtype=np.int64)},
            "input 'n' batch size does not match other inputs for 'm': 3 rows, the others have 2",
        ),
    ],
)
def test_a_request_that_does_not_fit_is_told_what_came_and_what_was_expected(signature, inputs, sentence):
    with pytest.raises(InvalidRequest) as caught:
        signature.rows(inputs)
    assert str(caught.value) == sentence


def test_an_optional_input_may_be_left_out():
    signature = Signature("m", [X, N], [Y], 4, optional=frozenset({"n"}))
    assert signature.rows({"x": rows(2, 2)}) == 2
    with pytest.raises(InvalidRequest, match=r"missing 'x'$"):
        signature.rows({"n": rows(2, 1, dtype=np.int64)})


def test_a_request_without_any_input_has_no_rows():
    signature = Signature("m", [X], [Y], 4, optional=frozenset({"x"}))
    with pytest.raises(InvalidRequest, match="batch-size must be >= 1 for 'm', got 0"):
        signature.rows({})


def test_outputs_must_be_the_models():
    TWO.check_outputs(["y"])
    TWO.check_outputs([])
    with pytest.raises(InvalidRequest, match="unexpected inference output 'z' for model 'm'; it gives 'y'"):
        TWO.check_outputs(["y", "z"])


def test_shapes_vary_where_two_good_requests_may_not_be_stacked():
    assert not BATCHED.shapes_vary
    assert TWO.shapes_vary
    assert Signature("m", [X], [Y], 4, optional=frozenset({"x"})).shapes_vary
