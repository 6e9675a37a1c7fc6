"""The models that are asked wrongly: one for each thing that a request can get wrong."""

import shutil
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests.e2e.workshop import FLOAT, INT64, echo, put, times, value, written
from tests.server_process import SAMPLES

ODD_NAME = "tea & biscuits: 100% ünïcode? #1"
BATCHED = "max_batch_size: 8"
KEPT = ["double", "echo", "pair", "half", "truth", "small", "whole", "fragile", ODD_NAME]
SAMPLED = ["digits_onnx", "diabetes"]
BROKEN = "broken"
LARGEST = 2**20
"""Bytes in a request, over HTTP as over gRPC: few, so that a test can afford to send more."""


def same(kind: int) -> bytes:
    """y = x, for rows of two."""
    return written(
        [helper.make_node("Identity", ["x"], ["y"])], [value("x", kind, "n", 2)], [value("y", kind, "n", 2)]
    )


def pair() -> bytes:
    """Two inputs of their own kinds, each handed back."""
    return written(
        [helper.make_node("Identity", ["a"], ["c"]), helper.make_node("Identity", ["b"], ["d"])],
        [value("a", TensorProto.INT32, "n", 1), value("b", FLOAT, "n", 2)],
        [value("c", TensorProto.INT32, "n", 1), value("d", FLOAT, "n", 2)],
    )


def whole() -> bytes:
    """y = x * 2, without a batch dimension."""
    return written(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        [value("x", FLOAT, 2, 2)],
        [value("y", FLOAT, 2, 2)],
        two=np.float32(2),
    )


def fragile() -> bytes:
    """Looks a number up in a table of three: it fails while it runs for any other place than 0, 1 and 2."""
    return written(
        [helper.make_node("Gather", ["table", "place"], ["y"])],
        [value("place", INT64, "n", 1)],
        [value("y", FLOAT, "n", 1)],
        table=np.arange(3, dtype=np.float32),
    )


def furnish(repository: Path) -> None:
    """Fill an empty repository. All of it can be loaded but `broken`."""
    put(repository, "double", times(2, 4), BATCHED)
    put(repository, "echo", echo(), BATCHED)
    put(repository, "pair", pair(), BATCHED)
    put(repository, "half", same(TensorProto.FLOAT16), BATCHED)
    put(repository, "truth", same(TensorProto.BOOL), BATCHED)
    put(repository, "small", same(TensorProto.UINT8), BATCHED)
    put(repository, "whole", whole())
    put(repository, "fragile", fragile(), BATCHED)
    put(repository, ODD_NAME, times(3, 4), BATCHED)
    put(repository, BROKEN, b"this is not a model", BATCHED)
    for name in SAMPLED:
        shutil.copytree(SAMPLES / name, repository / name)
