"""Tensors of every datatype, for the properties that hold for all of them."""

from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

from runtimes.tensors import DATATYPES, Array

JSON_DATATYPES = sorted(DATATYPES.keys() - {"FP16", "BF16"})
SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple)


def array_of(datatype: str, shape: tuple[int, ...], elements: list[Any]) -> Array:
    flat = np.empty(prod(shape), dtype=DATATYPES[datatype].dtype)
    flat[:] = elements
    return flat.reshape(shape)


def elements(datatype: str, text_only: bool = False) -> st.SearchStrategy[Any]:
    dtype = DATATYPES[datatype].dtype
    if datatype == "BYTES":
        return st.text(max_size=6).map(str.encode) if text_only else st.binary(max_size=6)
    if datatype == "BOOL":
        return st.booleans()
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return st.integers(int(limits.min), int(limits.max))
    return st.floats(
        width={"FP64": 64, "FP32": 32}.get(datatype, 16)
    )  # BF16 holds what FP16 rounds to, nearly


@st.composite
def tensors(draw: st.DrawFn, names: list[str], text_only: bool = False) -> Array:
    datatype = draw(st.sampled_from(names))
    shape = draw(SHAPES)
    count = prod(shape)
    drawn = draw(st.lists(elements(datatype, text_only), min_size=count, max_size=count))
    return array_of(datatype, shape, drawn)


def same(left: Array, right: Array) -> bool:
    """Equal to the last bit, NaN and all."""
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.tolist().__repr__() == right.tolist().__repr__()
    )
