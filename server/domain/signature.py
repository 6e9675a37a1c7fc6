"""What a version takes and gives, and whether a request fits it.

Made once per version; `rows` is asked for every request, so it does in one pass what can be done
per model beforehand.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from server.domain.errors import InvalidRequest
from server.domain.tensors import DATATYPES, VARIABLE, Tensors, TensorSpec, datatype_of


def _written(shape: Sequence[int]) -> str:
    return "[" + ",".join(str(size) for size in shape) + "]"


class Signature:
    """The contract of one model version with its callers.

    inputs, outputs   full shapes, the batch dimension first where `max_batch_size` is above 0
    max_batch_size    rows in one run, at most; 0 where the model has no batch dimension
    most_rows         rows in one request, at most: more than that where requests are split
    optional          names of inputs that a request may leave out
    remembered        what a codec keeps of requests that fitted; it goes when the version goes
    shapes_vary       whether two good requests may differ in a dimension other than the batch's, or
                      in their inputs
    """

    __slots__ = (
        "_fixed",
        "inputs",
        "max_batch_size",
        "model",
        "most_rows",
        "optional",
        "output_names",
        "output_order",
        "outputs",
        "remembered",
        "shapes_vary",
    )

    def __init__(
        self,
        model: str,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        max_batch_size: int,
        optional: frozenset[str] = frozenset(),
        most_rows: int = 0,
    ) -> None:
        self.model = model
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.max_batch_size = max_batch_size
        self.most_rows = most_rows or max_batch_size
        self.optional = optional
        self.output_order = tuple(spec.name for spec in self.outputs)
        self.output_names = frozenset(self.output_order)
        self._fixed: dict[str, tuple[np.dtype[np.generic], tuple[int, ...] | None, TensorSpec]] = {}
        for spec in self.inputs:
            rest = spec.shape[1:] if max_batch_size else spec.shape
            self._fixed[spec.name] = (
                DATATYPES[spec.datatype].dtype,
                None if VARIABLE in rest else rest,
                spec,
            )
        self.remembered: dict[bytes, Any] = {}
        self.shapes_vary = bool(optional) or any(rest is None for _, rest, _ in self._fixed.values())

    def rows(self, inputs: Tensors) -> int:
        """Hold a request's inputs against the contract and count its rows (1 where it does not batch).

        Raises `InvalidRequest` with what came and what was expected.
        """
        rows = -1
        batches = self.max_batch_size > 0
        fixed = self._fixed
        for name, array in inputs.items():
            expected = fixed.get(name)
            if expected is None:
                raise InvalidRequest(
                    f"unexpected inference input '{name}' for model '{self.model}'; "
                    f"it takes {', '.join(repr(spec.name) for spec in self.inputs)}"
                )
            dtype, rest, spec = expected
            shape = array.shape
            if array.dtype != dtype:
                raise InvalidRequest(
                    f"inference input '{name}' data-type is '{datatype_of(array)}', "
                    f"but model '{self.model}' expects '{spec.datatype}'"
                )
            if batches:
                if (shape[1:] != rest if rest is not None else not spec.admits(shape)) or not shape:
                    self._refuse_shape(spec, shape)
                if rows != shape[0]:
                    if rows >= 0:
                        raise InvalidRequest(
                            f"input '{name}' batch size does not match other inputs for '{self.model}': "
                            f"{shape[0]} rows, the others have {rows}"
                        )
                    rows = shape[0]
            elif shape != rest if rest is not None else not spec.admits(shape):
                self._refuse_shape(spec, shape)
        if len(inputs) < len(fixed):
            self._require(inputs)
        if not batches:
            return 1
        if rows > self.most_rows:
            self._refuse_rows(rows)
        if rows < 1:
            raise InvalidRequest(
                f"inference request batch-size must be >= 1 for '{self.model}', got {max(rows, 0)}"
            )
        return rows

    def check_outputs(self, wanted: Sequence[str]) -> None:
        """Raises `InvalidRequest` for an output that the model does not have."""
        for name in wanted:
            if name not in self.output_names:
                raise InvalidRequest(
                    f"unexpected inference output '{name}' for model '{self.model}'; "
                    f"it gives {', '.join(repr(spec.name) for spec in self.outputs)}"
                )

    def _require(self, inputs: Tensors) -> None:
        missing = [s.name for s in self.inputs if s.name not in inputs and s.name not in self.optional]
        if missing:
            raise InvalidRequest(
                f"expected {len(self.inputs)} inputs but got {len(inputs)} inputs for model '{self.model}': "
                f"missing {', '.join(repr(name) for name in missing)}"
            )

    def _refuse_rows(self, rows: int) -> None:
        pieces = self.most_rows // self.max_batch_size
        raise InvalidRequest(
            f"inference request batch-size must be <= {self.most_rows} for '{self.model}', got {rows}"
            + (f"; it is split into at most {pieces} runs of {self.max_batch_size}" if pieces > 1 else "")
        )

    def _refuse_shape(self, spec: TensorSpec, shape: tuple[int, ...]) -> None:
        raise InvalidRequest(
            f"unexpected shape for input '{spec.name}' for model '{self.model}'. "
            f"Expected {_written(spec.shape)}, got {_written(shape)}"
        )
