"""Requests of different lengths become one shape, and their outputs are cut back.

Pure: arrays in, arrays out. All that a request pads has one length; its bucket is the smallest that
holds it, so requests of one bucket share a lane and a run. The model is told what is real by a mask
or a length; these inputs are made here for a request that leaves them out.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from server.domain.errors import InferenceFailed, InvalidRequest
from server.domain.tensors import VARIABLE, Array, Tensors

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PaddedInput:
    """`axis` is of the whole array, the batch's among them; `fill` is put in behind the real elements."""

    axis: int
    fill: Any


@dataclass(frozen=True, slots=True)
class MadeInput:
    """An input that tells the model what is real. `dims` leaves the batch out; one of a mask's varies."""

    name: str
    dtype: np.dtype[Any]
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PadRule:
    """What one model version pads and cuts back.

    batches       whether arrays begin with a batch dimension
    buckets       lengths, ascending
    inputs        input name -> how it is padded; the mask among them, for clients that send their own
    mask, length  made where a request leaves them out; None where the model has no such input
    outputs       output name -> the axes that are cut back where they are as long as the bucket
    certain       outputs that the operator named: one of another size is the model's fault
    """

    model: str
    version: int
    batches: bool
    buckets: tuple[int, ...]
    inputs: Mapping[str, PaddedInput]
    mask: MadeInput | None = None
    length: MadeInput | None = None
    outputs: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: NOTHING)
    certain: bool = False

    def bucket(self, length: int, name: str) -> int:
        """The smallest that holds so many elements. Raises `InvalidRequest` if none does."""
        at = bisect_left(self.buckets, length)
        if at == len(self.buckets):
            raise InvalidRequest(
                f"input '{name}' for model '{self.model}' has length {length}, but the longest that it "
                f"takes is {self.buckets[-1]}, the last of its tercet.pad_buckets"
            )
        return self.buckets[at]

    def pad(self, inputs: Tensors) -> "Padded":
        """One copy of each input that is shorter than its bucket. The inputs fit the model's signature.

        Raises `InvalidRequest` for inputs of different lengths, or for one beyond the last bucket.
        """
        name, length = self._length(inputs)
        if not name:
            return Padded(self, inputs, 0, 0, 0, 0)
        bucket = self.bucket(length, name)
        padded = dict(inputs)
        real = added = 0
        for name, how in self.inputs.items():
            array = inputs.get(name)
            if array is not None:
                padded[name] = longer = _padded(array, how, bucket)
                if self.mask is None or name != self.mask.name:
                    real += array.size
                    added += longer.size - array.size
        rows = (next(iter(inputs.values())).shape[0],) if self.batches else ()
        if self.mask is not None and self.mask.name not in inputs:
            padded[self.mask.name] = _mask(self.mask, rows, length, bucket)
        if self.length is not None and self.length.name not in inputs:
            padded[self.length.name] = np.full((*rows, *self.length.dims), length, self.length.dtype)
        return Padded(self, padded, length, bucket, real, added)

    def cut(self, outputs: Tensors, length: int, bucket: int) -> Tensors:
        """The outputs as long as the request was, as views.

        Raises `InferenceFailed` for an output that is to be cut back and is not as long as the bucket.
        """
        if length == bucket:
            return outputs
        cut = dict(outputs)
        for name, axes in self.outputs.items():
            for axis in axes if name in cut else ():
                array = cut[name]
                if axis < array.ndim and array.shape[axis] == bucket:
                    cut[name] = array[_first(axis, length)]
                elif self.certain:
                    raise InferenceFailed(
                        self.model,
                        self.version,
                        f"output '{name}' has shape {list(array.shape)}, where tercet.pad_outputs says that "
                        f"it is as long as its bucket, {bucket}",
                    )
        return cut

    def _length(self, inputs: Tensors) -> tuple[str, int]:
        """The length that all inputs share that are to be padded, and the first of their names."""
        first, length = "", 0
        for name, how in self.inputs.items():
            array = inputs.get(name)
            if array is None:
                continue
            if not first:
                first, length = name, array.shape[how.axis]
            elif array.shape[how.axis] != length:
                raise InvalidRequest(
                    f"inputs '{first}' and '{name}' for model '{self.model}' are padded together, so they "
                    f"must have the same length, but have {length} and {array.shape[how.axis]}"
                )
        return first, length


@dataclass(frozen=True, slots=True)
class Padded:
    """A request's inputs as they run; `real` and `added` count the elements of those that are no mask."""

    rule: PadRule
    inputs: Tensors
    length: int
    bucket: int
    real: int
    added: int

    def cut(self, outputs: Tensors) -> Tensors:
        """What the model gave for it, as if it had not been padded."""
        return self.rule.cut(outputs, self.length, self.bucket)


def _first(axis: int, count: int) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(count))


def _padded(array: Array, how: PaddedInput, size: int) -> Array:
    length = array.shape[how.axis]
    if length == size:
        return array
    shape = list(array.shape)
    shape[how.axis] = size
    longer: Array = np.full(shape, how.fill, array.dtype)
    longer[_first(how.axis, length)] = array
    return longer


def _mask(mask: MadeInput, rows: tuple[int, ...], length: int, bucket: int) -> Array:
    shape = (*rows, *(bucket if size == VARIABLE else size for size in mask.dims))
    made: Array = np.zeros(shape, mask.dtype)
    made[_first(len(rows) + mask.dims.index(VARIABLE), length)] = 1
    return made


def fill_rows(inputs: Tensors, sizes: tuple[int, ...]) -> tuple[Tensors, int]:
    """Fill a run up to the smallest of the ascending `sizes` that holds its rows, by repeating its last row.

    A row that is there already is one that the model can take. A run that no size holds, or that has no
    rows, stays as it is. Gives the inputs, and the rows that they have now; one copy.
    """
    rows = next(iter(inputs.values())).shape[0]
    at = bisect_left(sizes, rows)
    if not rows or at == len(sizes) or sizes[at] == rows:
        return inputs, rows
    more = sizes[at] - rows
    return {
        name: np.concatenate([array, np.repeat(array[-1:], more, axis=0)]) for name, array in inputs.items()
    }, sizes[at]


def drop_rows(outputs: Tensors, rows: int, filled: int) -> dict[str, Array]:
    """The first `rows` of every output that has a row for each of those that were filled up, as views."""
    return {
        name: array[:rows] if array.shape and array.shape[0] == filled else array
        for name, array in outputs.items()
    }


def elements(tensors: Tensors) -> int:
    """How many there are in all."""
    return sum(array.size for array in tensors.values())
