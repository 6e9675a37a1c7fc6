"""Signatures to speak to."""

from runtimes.tensors import TensorSpec
from server.domain.signature import Signature

TINY = Signature(
    "tiny", [TensorSpec("INPUT", "FP32", (-1, 4))], [TensorSpec("OUTPUT", "FP32", (-1, 3))], max_batch_size=8
)
IMAGES = Signature(
    "images",
    [TensorSpec("FILE", "BYTES", (-1, 1))],
    [TensorSpec("CLASS", "INT64", (-1, 1))],
    max_batch_size=4,
)
HOUSE = Signature(
    "house",
    [
        TensorSpec("rooms", "INT32", (-1, 1)),
        TensorSpec("area", "FP32", (-1, 1)),
        TensorSpec("town", "BYTES", (-1, 1)),
    ],
    [TensorSpec("price", "FP64", (-1, 1))],
    max_batch_size=16,
    optional=frozenset({"town"}),
)
WHOLE = Signature(
    "whole", [TensorSpec("X", "FP32", (2, 2))], [TensorSpec("Y", "FP32", (2,))], max_batch_size=0
)
