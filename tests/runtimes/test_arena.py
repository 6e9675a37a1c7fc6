"""What ONNX Runtime keeps of a huge batch, and that it can be told to give it back."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from runtimes.arena import EVERY_RUNS
from runtimes.errors import ModelBroken
from runtimes.memory import resident_bytes, trim
from runtimes.opening import open_session
from runtimes.session import ModelFile
from tests.runtimes.models import onnx_mlp, onnx_model, value

MIB = 2**20
WIDE, HUGE = 256, 65_536


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory):
    """What lies between its two layers is 64 MiB for the huge batch."""
    weights = [np.eye(WIDE, dtype=np.float32), np.ones((WIDE, 1), np.float32)]
    return onnx_model(
        tmp_path_factory.mktemp("wide"),
        [
            helper.make_node("MatMul", ["x", "w0"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "w1"], ["y"]),
        ],
        [value("x", "FP32", ["n", WIDE])],
        [value("y", "FP32", ["n", 1])],
        tuple(numpy_helper.from_array(each, f"w{number}") for number, each in enumerate(weights)),
    )


def kept_of_a_huge_batch(path, **parameters: str) -> int:
    """MiB that stay after it and many small ones."""
    small, huge = (np.ones((rows, WIDE), np.float32) for rows in (1, HUGE))
    session = open_session(ModelFile(path=path, parameters=parameters))
    session.run({"x": small}, ["y"])
    trim()
    before = resident_bytes()
    session.run({"x": huge}, ["y"])
    for _ in range(EVERY_RUNS + 1):
        assert session.run({"x": small}, ["y"])["y"].tolist() == [[WIDE]]
    trim()
    kept = resident_bytes() - before
    session.close()
    return round(kept / MIB)


def test_a_huge_batch_is_forgotten_after_small_ones(path):
    assert kept_of_a_huge_batch(path) < 16


def test_it_is_kept_where_the_configuration_says_never(path):
    assert kept_of_a_huge_batch(path, arena_shrink_every_runs="0") > 48


def test_triton_s_parameter_gives_back_after_every_run(path):
    asked = {"memory.enable_memory_arena_shrinkage": "cpu:0"}
    assert kept_of_a_huge_batch(path, **asked) < 16


def test_without_an_arena_nothing_is_kept(path):
    assert kept_of_a_huge_batch(path, enable_mem_arena="0") < 16


@pytest.mark.parametrize(
    ("parameter", "value", "says"),
    [
        ("enable_mem_arena", "yes", "can be 0 or 1"),
        ("enable_mem_pattern", "2", "can be 0 or 1"),
        ("arena_shrink_every_runs", "often", "no number of runs"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_by_name(tmp_path, parameter, value, says):
    model = ModelFile(path=onnx_mlp(tmp_path).path, parameters={parameter: value})
    with pytest.raises(ModelBroken, match=rf"{parameter} is '{value}'.*{says}"):
        open_session(model)
