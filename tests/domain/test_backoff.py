"""The waits between tries, as arithmetic, and the reasons that may pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.errors import ModelBroken
from server.domain.backoff import BackOff, may_pass


def test_each_wait_is_twice_the_one_before_up_to_the_longest():
    rule = BackOff(first_s=1, most_s=10, jitter=0.5)
    assert [rule.wait_s(failures, 0.0) for failures in (1, 2, 3, 4, 5, 500, 10_000)] == [
        1,
        2,
        4,
        8,
        10,
        10,
        10,
    ]


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1))
def test_chance_only_ever_shortens_a_wait_and_never_below_its_share(failures, chance):
    rule = BackOff(first_s=1, most_s=300, jitter=0.5)
    whole = rule.wait_s(failures, 0.0)
    assert whole / 2 <= rule.wait_s(failures, chance) <= whole <= 300


def caused(cause: Exception) -> ModelBroken:
    try:
        raise ModelBroken("pre.py line 3: raised") from cause
    except ModelBroken as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("gone"),
        OSError(5, "Input/output error"),
        MemoryError(),
        TimeoutError(),
        caused(ConnectionResetError()),
        ModelBroken("model.onnx cannot be loaded: Failed to allocate memory for requested buffer of size 8"),
        ModelBroken("model.onnx cannot be loaded: std::bad_alloc"),
        ModelBroken("model.onnx cannot be loaded: open file model.onnx fail, errcode = 5 - system error"),
        ModelBroken("pre.py raised ValueError: Unable to allocate 8 GiB for an array"),
        ModelBroken("pre.py raised Error: [Errno 13] Permission denied"),
        ModelBroken("model.pt cannot be loaded: CUDA out of memory. Tried to allocate 2 GiB"),
    ],
)
def test_what_the_machine_failed_at_may_pass(error):
    assert may_pass(error)


@pytest.mark.parametrize(
    "error",
    [
        ModelBroken("model.onnx cannot be loaded: Protobuf parsing failed."),
        caused(SyntaxError("invalid syntax")),
        ValueError("no such operator"),
        ValueError("max_batch_size is 8, but not every input and output has a variable first dimension"),
    ],
)
def test_what_the_content_is_to_blame_for_does_not_pass(error):
    assert not may_pass(error)


def test_what_was_said_to_be_no_cause_is_none():
    def told_otherwise() -> ValueError:
        try:
            try:
                raise TimeoutError
            except TimeoutError:
                raise ValueError("it changed") from None
        except ValueError as error:
            return error

    assert not may_pass(told_otherwise())


def test_a_circle_of_causes_ends():
    error = ValueError("x")
    error.__context__ = caused(error)
    assert not may_pass(error)
