"""How much room the outputs of a run will need, so that they are laid down without asking twice.

Exact where the model says all sizes but the rows; else learned from the runs before. A guess that is too
small costs a message, one that is too large costs nothing but space that nobody touches.
"""

from math import prod

from runtimes.session import Description
from runtimes.slab import ALIGNMENT
from runtimes.tensors import DATATYPES, VARIABLE, Tensors, TensorSpec

LEAST_BYTES = 1024


class Room:
    """Of one model. Used by several threads: whoever reads an older guess guesses worse, and no more."""

    def __init__(self, description: Description) -> None:
        self._apart = ALIGNMENT * len(description.outputs)
        self._row_bytes = sum(map(_row_bytes, description.outputs))
        self._known = all(_is_known(spec) for spec in description.outputs)

    def for_inputs(self, inputs: Tensors) -> int:
        """Bytes to set aside for a run with these inputs."""
        return max(LEAST_BYTES, self._row_bytes * _rows(inputs) + self._apart)

    def note(self, inputs: Tensors, size: int) -> None:
        """A run with these inputs needed so many bytes."""
        if self._known:
            return
        row_bytes = -(-size // _rows(inputs))
        if row_bytes < self._row_bytes:
            row_bytes = self._row_bytes - (self._row_bytes - row_bytes) // 8
        self._row_bytes = row_bytes


def _rows(inputs: Tensors) -> int:
    return max([array.shape[0] for array in inputs.values() if array.ndim], default=1) or 1


def _is_known(spec: TensorSpec) -> bool:
    return VARIABLE not in spec.shape[1:] and DATATYPES[spec.datatype].itemsize > 0


def _row_bytes(spec: TensorSpec) -> int:
    """Of the sizes that are known; the first counts as rows where it is variable."""
    sizes = [1 if size == VARIABLE else size for size in spec.shape]
    return prod(sizes) * DATATYPES[spec.datatype].itemsize
