"""An output as its best classes: `value:index:label`, best first.

Source: Triton's classification extension; the value is written as C's `%f` writes it.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from server.domain.errors import InvalidRequest
from server.domain.tensors import Array

Labels = Mapping[str, Sequence[str]]
"""Output name -> the names of its classes, by index."""

NO_LABELS: Labels = MappingProxyType({})


def classes_of(output: str, array: Array, count: int, labels: Sequence[str], batched: bool) -> Array:
    """The `count` best classes as BYTES: of shape [rows, count] if batched, else [count].

    There are fewer if the output has fewer. All dimensions but the batch's are counted through.
    Of equal values the first is better; NaN is worst.
    """
    kind = array.dtype.kind
    if kind in "Ob":
        raise InvalidRequest(
            f"output '{output}' has no numbers to rank, so it cannot be asked for by classification"
        )
    scores = array.astype(np.float32) if kind not in "iuf" else array  # bfloat16 is no float to NumPy
    rows = array.shape[0] if batched else 1
    by_row = scores.reshape(rows, array.size // max(rows, 1))
    width = min(count, by_row.shape[1])
    best: Array = np.empty((rows, width), dtype=object)
    for row, values in enumerate(by_row):
        for place, index in enumerate(_ranking(values)[:width].tolist()):
            best[row, place] = _written(values[index], index, labels)
    return best if batched else best[0]


def _ranking(values: Array) -> Array:
    worst_if_nan = np.where(np.isnan(values), -np.inf, values) if values.dtype.kind == "f" else values
    backwards = np.argsort(worst_if_nan[::-1], kind="stable")  # so that the first of equals comes out first
    return len(values) - 1 - backwards[::-1]


def _written(value: np.generic, index: int, labels: Sequence[str]) -> bytes:
    number = f"{value:f}" if value.dtype.kind == "f" else f"{value}"
    label = f":{labels[index]}" if index < len(labels) else ""
    return f"{number}:{index}{label}".encode()
