"""A model large enough that a forgotten one shows in the memory, whose every answer tells who gave it."""

import numpy as np
from onnx import helper

from tests.e2e.workshop import FLOAT, INT64, value, written

PAGES = 320_000
"""Floats of weight, 1.25 MiB: above that size ONNX Runtime is given threads of its own, which must go too."""

BYTES = PAGES * 4


def ledger(edition: int) -> bytes:
    """y = what stands at page `at` of this edition; see `entry`."""
    pages = edition * 1000 + np.arange(PAGES, dtype=np.float32) % 997
    return written(
        [helper.make_node("Gather", ["pages", "at"], ["y"])],
        [value("at", INT64, "n", 1)],
        [value("y", FLOAT, "n", 1)],
        pages=pages,
    )


def entry(edition: int, at: int) -> float:
    return edition * 1000 + at % 997
