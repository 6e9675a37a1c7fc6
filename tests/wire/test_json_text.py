"""JSON, with the bare literals of Triton's clients."""

import math

import numpy as np
import pytest

from server.domain.errors import InvalidRequest
from server.domain.run_outputs import RunOutputs, share_of
from server.wire import json_text


def test_nan_and_infinity_are_read_as_bare_literals():
    nan, up, down = json_text.read(b'{"data": [NaN, Infinity, -Infinity]}')["data"]
    assert math.isnan(nan)
    assert (up, down) == (math.inf, -math.inf)


def test_nan_and_infinity_are_written_as_bare_literals_where_they_stand():
    array = np.array([[1.5, np.nan], [np.inf, -np.inf]], np.float32)
    assert json_text.write_elements(array) == b"[1.5,NaN,Infinity,-Infinity]"


def test_a_float32_is_written_with_its_own_few_digits():
    assert json_text.write_elements(np.array([0.1, 0.7], np.float32)) == b"[0.1,0.7]"


def test_an_array_with_gaps_is_written_like_any_other():
    assert json_text.write_elements(np.arange(12).reshape(3, 4)[:, ::2]) == b"[0,2,4,6,8,10]"


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 4), (3, 2, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint64, np.bool_])
def test_each_row_of_a_run_is_written_as_if_it_were_alone(shape, dtype):
    whole = (np.arange(math.prod(shape)).reshape(shape) * 0.7).astype(dtype)
    texts = json_text.rows_of(RunOutputs({"Y": whole}), share_of("Y", whole)[0])
    assert texts == [json_text.write_elements(row)[1:-1] for row in np.split(whole, 3)]


def test_rows_are_written_once_for_all():
    shared = RunOutputs({"Y": np.eye(3, dtype=np.float32)})
    first, again = (json_text.rows_of(shared, share_of("Y", np.eye(1, 3, dtype=np.float32))[0]) for _ in "12")
    assert first is again


@pytest.mark.parametrize(
    "whole", [np.array([[1.0], [np.nan]]), np.zeros((2, 0)), np.zeros((2, 3))], ids=["nan", "none", "another"]
)
def test_rows_that_cannot_be_told_apart_so_are_left_to_who_writes_each(whole):
    kind = share_of("Y", whole[:, :1])[0]
    shared = RunOutputs({"Y": whole})
    assert json_text.rows_of(shared, kind) is None
    assert json_text.rows_of(shared, kind) is None, "and not tried again"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[1,]",
        b"\xff\xfe",
        b"nan",
        b"[NaN",
        b'["\\ud800", NaN]',
        b"[" * 5000 + b"]" * 5000,
        b"[" * 50_000 + b"NaN" + b"]" * 50_000,
        b"[NaN, 1" + b"0" * 5000 + b"]",
    ],
)
def test_what_is_not_json_is_the_callers_fault(text: bytes):
    with pytest.raises(InvalidRequest, match="JSON"):
        json_text.read(text)
