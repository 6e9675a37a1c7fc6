"""What one run gave to several requests, in one piece: each has some rows of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from server.domain.tensors import Array, Tensors

Kind = tuple[str, np.dtype[Any], tuple[int, ...]]
"""Of an output: its name, its datatype, and its shape beyond the rows."""


def share_of(name: str, array: Array) -> tuple[Kind, int, int]:
    """Of somebody's rows of an output: their kind, their bytes, and the bytes of each."""
    rows = len(array) if array.ndim else 0
    return (name, array.dtype, array.shape[1:]), array.nbytes, array.nbytes // rows if rows else 0


class RunOutputs:
    """The outputs of one run. A view for each request would cost more than to write small rows does: whoever
    writes them as they lie has all of them written at once, by the first, and cuts out those of a request.

    arrays   by name, each of shape (rows, *rest), where `rest` is its own
    texts    of each row, for who writes text, and of what kind; None for a kind that cannot be told so
    """

    __slots__ = ("_content", "_kind", "arrays", "texts")

    def __init__(self, arrays: Tensors) -> None:
        self.arrays = arrays
        self._kind: Kind | None = None
        self._content = b""
        self.texts: tuple[Kind, Sequence[bytes] | None] | None = None

    def rows(self, at: int, count: int) -> dict[str, Array]:
        """So many rows from there on: views."""
        return {name: array[at : at + count] for name, array in self.arrays.items()}

    def content(self, kind: Kind) -> bytes | None:
        """The bytes of all rows of the one output; None if it is of another kind, or not the only one."""
        if kind == self._kind:
            return self._content
        array = self.only(kind)
        if array is None:
            return None
        self._kind, self._content = kind, array.tobytes()
        return self._content

    def only(self, kind: Kind) -> Array | None:
        """The one output, if it is of that kind."""
        if len(self.arrays) != 1:
            return None
        ((name, array),) = self.arrays.items()
        return array if (name, array.dtype, array.shape[1:]) == kind else None
