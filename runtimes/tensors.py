"""The words for tensors: a datatype, a shape, a named array.

Everything above speaks of tensors in these words; nothing here knows of a server.
A tensor is a NumPy array. BYTES tensors are arrays of Python `bytes` (dtype object);
BF16 tensors have the dtype `ml_dtypes.bfloat16`, two bytes an element.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Tensors = Mapping[str, Array]

VARIABLE = -1
"""A dimension whose size is known only when a request comes."""


@dataclass(frozen=True, slots=True)
class Datatype:
    """One element type of the Open Inference Protocol.

    name       as on the wire, such as FP32
    dtype      of the arrays that carry it, little-endian
    itemsize   bytes of one element; 0 for BYTES, whose elements vary
    """

    name: str
    dtype: np.dtype[Any]
    itemsize: int


def _datatype(name: str, dtype: Any) -> Datatype:
    exact = np.dtype(dtype)
    return Datatype(name, exact, 0 if exact.hasobject else exact.itemsize)


DATATYPES: Mapping[str, Datatype] = {
    datatype.name: datatype
    for datatype in (
        _datatype("BOOL", np.bool_),
        _datatype("UINT8", np.uint8),
        _datatype("UINT16", np.uint16),
        _datatype("UINT32", np.uint32),
        _datatype("UINT64", np.uint64),
        _datatype("INT8", np.int8),
        _datatype("INT16", np.int16),
        _datatype("INT32", np.int32),
        _datatype("INT64", np.int64),
        _datatype("FP16", np.float16),
        _datatype("FP32", np.float32),
        _datatype("FP64", np.float64),
        _datatype("BYTES", np.object_),
        _datatype("BF16", ml_dtypes.bfloat16),
    )
}
"""Every datatype of the protocol, by its name on the wire."""

_NAMES: Mapping[np.dtype[Any], str] = {datatype.dtype: name for name, datatype in DATATYPES.items()}


def datatype_of(array: Array) -> str:
    """Name the protocol's datatype of an array. Raises `KeyError` for a dtype the protocol lacks."""
    return _NAMES[array.dtype]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What one input or output looks like.

    name       as the model names it
    datatype   as on the wire, a key of `DATATYPES`
    shape      all dimensions, the batch dimension first where there is one; -1 is variable
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Say whether an array of this shape fits."""
        return len(shape) == len(self.shape) and all(
            wanted in (VARIABLE, size) for wanted, size in zip(self.shape, shape, strict=True)
        )
