"""The batching probe: the questions, and whether a batch answered as its rows alone. Pure.

The batcher joins rows of callers who know nothing of each other. Where a row's answer hangs on its
neighbours (a mean over the batch, a dimension that the export has frozen), callers would read each
other's data in their own answers; nothing else shows it, as every single answer looks fine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from server.domain.tensors import DATATYPES, VARIABLE, Array, Tensors, TensorSpec
from server.lifecycle.agreement import parting, shown

SEED = 20261121
PROBE_ROWS = 4
"""Rows of the batch that is held against its rows alone: enough for neighbours on both sides."""

DOUBTFUL = 1e-5
"""Relative to the output's largest number: up to here a batch answers as its rows alone."""

WRONG = 1e-3
"""From here on no order of summing explains the difference."""

LENGTHS = (8, 64, 1)
"""Sizes to try for a dimension that the model leaves open, until one runs."""

MOST_BYTES = 64 * 2**20
"""In the inputs of one run that the trial makes up."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the probe says of one output.

    wrong   whether the difference is beyond what rounding explains
    """

    sentence: str
    wrong: bool


def made_up(specs: Sequence[TensorSpec], optional: frozenset[str], rows: int, length: int) -> Tensors | None:
    """Seeded inputs of so many rows (0: the model has no batch dimension); None where text is wanted.

    Integers are 0 or 1, which are good indices and flags anywhere; numbers lie around 0.
    """
    random = np.random.default_rng(SEED)
    inputs: dict[str, Array] = {}
    for spec in specs:
        if spec.name in optional:
            continue
        rest = spec.shape[1:] if rows else spec.shape
        shape = (*([rows] if rows else []), *(length if size == VARIABLE else size for size in rest))
        datatype = DATATYPES[spec.datatype]
        if datatype.dtype.hasobject or int(np.prod(shape)) * datatype.itemsize > MOST_BYTES:
            return None
        if datatype.name in ("FP16", "FP32", "FP64", "BF16"):
            inputs[spec.name] = random.standard_normal(shape).round(3).astype(datatype.dtype)
        else:
            inputs[spec.name] = random.integers(0, 2, shape).astype(datatype.dtype)
    return inputs


def rows_of(sample: Tensors, count: int) -> Tensors:
    """So many rows, each another one, out of one good request's.

    Numbers are stretched a little, and the elements of whole numbers and text trade places within their row:
    so they stay what the model can read.
    """
    return {name: _rows_of(array, count) for name, array in sample.items()}


def _rows_of(array: Array, count: int) -> Array:
    there = len(array)
    wanted = np.arange(count)
    rows = array[wanted % there]
    again = wanted // there
    if array.dtype.kind in "fV" or array.dtype.name == "bfloat16":
        stretch = (1 + again / 8).reshape(-1, *[1] * (array.ndim - 1))
        stretched: Array = (rows.astype(np.float64) * stretch).astype(array.dtype)
        return stretched
    if array.ndim > 1:
        rows = rows.copy()
        for row in range(there, count):
            rows[row] = np.roll(rows[row], int(again[row]), axis=-1)
    return rows


def alone(batch: Tensors, row: int) -> Tensors:
    """One row of a batch as a request of its own."""
    return {name: np.ascontiguousarray(array[row : row + 1]) for name, array in batch.items()}


def findings(joined: Tensors, singles: Sequence[Tensors]) -> Iterator[Finding]:
    """What the answer to a batch has that the answers to its rows have not, output by output."""
    rows = len(singles)
    for name, together in joined.items():
        if together.ndim == 0 or len(together) != rows:
            yield Finding(
                f"output '{name}' has shape {list(together.shape)} for a batch of {rows} rows, "
                f"so its rows cannot be told apart",
                wrong=True,
            )
            continue
        shapes = {single[name].shape for single in singles}
        if shapes != {(1, *together.shape[1:])}:
            yield Finding(
                f"output '{name}' has rows of shape {list(together.shape[1:])} in a batch and of shape "
                f"{list(min(shapes)[1:])} alone",
                wrong=True,
            )
            continue
        apart = np.concatenate([single[name] for single in singles])
        found = _finding(name, apart, together)
        if found is not None:
            yield found


def _finding(name: str, apart: Array, together: Array) -> Finding | None:
    exact = apart.dtype.hasobject or apart.dtype.kind in "biu"
    largest = 0.0
    if not exact:
        finite = np.abs(apart.astype(np.float64))
        largest = float(np.max(finite, where=np.isfinite(finite), initial=0.0))
    grain = 0.0 if exact else _grain(apart)
    doubtful = max(DOUBTFUL, 4 * grain) * largest
    part = parting(apart, together, lambda _: 0.0 if exact else doubtful)
    if part is None:
        return None
    wrong = exact or part.by > max(WRONG, 32 * grain) * largest
    share = "" if exact or not largest else f" (off by {part.by / largest:.2g} of its largest number)"
    return Finding(
        f"output '{name}' of row {part.place[0]} is {shown(part.found)} in a batch and "
        f"{shown(part.expected)} alone{share}",
        wrong,
    )


def _grain(array: Array) -> float:
    """How far apart two neighbouring numbers of this datatype are, around 1."""
    return 2.0**-7 if array.dtype.name == "bfloat16" else float(np.finfo(array.dtype).eps)


def ladder(most: int) -> list[int]:
    """The batch sizes of a profile: 1, 2, 4 and so on, and the largest."""
    sizes = [1]
    while sizes[-1] * 2 < most:
        sizes.append(sizes[-1] * 2)
    return sizes if most <= 1 else [*sizes, most]
