"""ONNX models on a CUDA device: pinned memory on the host, and a stream for every run that is under way.

ONNX Runtime has a run of a session on streams of its own, as many as there are runs at once: so the
instances of a model are streams over one set of weights, and the copies of one go on beside the work of
another, if they are from and to pinned memory. Inputs are handed over with the run and not bound before:
`IOBinding` copies them as they are bound, and waits for it. Outputs are bound to buffers of ours. Why:
docs/decisions/io-binding.md.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from runtimes.arena import Shrinking
from runtimes.errors import RunFailed
from runtimes.host_buffers import Buffers
from runtimes.session import Description
from runtimes.tensors import DATATYPES, VARIABLE, Array, Tensors


class CudaOnnxSession:
    """A session whose tensors all have a NumPy dtype that ONNX Runtime takes. `run` is called from several
    threads.

    buffers   pinned ones
    told      a runtime's exception in one sentence
    """

    def __init__(
        self,
        ort: Any,
        session: Any,
        description: Description,
        shrinking: Shrinking,
        buffers: Buffers,
        told: Callable[[Exception], str],
    ) -> None:
        self.description = description
        self._ort = ort
        self._session = session
        self._shrinking = shrinking
        self._left = shrinking.every_runs
        self._plain = ort.RunOptions()
        self._buffers = buffers
        self._told = told
        self._rows_of = {
            spec.name: (spec.shape[1:], DATATYPES[spec.datatype].dtype)
            for spec in description.outputs
            if description.batches and VARIABLE not in spec.shape[1:]
        }
        """Outputs that can be laid out before the run, if the model gives one row for each."""

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        self._left -= 1
        options = self._plain
        if self._left <= 0:
            self._left = self._shrinking.every_runs
            options = self._shrinking.options
        staged = {name: self._staged(array) for name, array in inputs.items()}
        laid: dict[str, Array] = {}  # kept to the end: a run that failed may have a copy to them under way
        if self._rows_of.keys() >= set(outputs):
            rows = len(next(iter(inputs.values())))
            try:
                laid = {name: self._output(name, rows) for name in outputs}
                return self._into(laid, staged, options)
            except Exception:  # a model that gives other rows than it is given, or one that fails: see below
                pass
        try:
            results = self._session.run(outputs, staged, options)
        except Exception as error:
            raise RunFailed(self._told(error)) from error
        for name, result in zip(outputs, results, strict=True):
            if name in self._rows_of and len(result) != len(next(iter(inputs.values()))):
                self._rows_of = {}  # never again
        return dict(zip(outputs, results, strict=True))

    def close(self) -> None:
        del self._session
        self._buffers.give_back()

    def _staged(self, array: Array) -> Array:
        """The one copy on the host that CUDA asks for."""
        staged = self._buffers.array(array.shape, array.dtype)
        np.copyto(staged, array)
        return staged

    def _into(self, results: dict[str, Array], inputs: Tensors, options: Any) -> dict[str, Array]:
        values, vector = self._ort.OrtValue.ortvalue_from_numpy, self._ort.capi._pybind_state.OrtValueVector
        feeds, fetches = vector(), vector()
        held = [values(array) for array in inputs.values()], [values(array) for array in results.values()]
        for into, each in zip((feeds, fetches), held, strict=True):
            for value in each:
                into.push_back(value._ortvalue)
        host = self._ort.OrtDevice.make("cpu", 0)._get_c_device()
        self._session.run_with_ortvaluevector(
            options, [*inputs], feeds, [*results], fetches, [host] * len(results)
        )
        return results

    def _output(self, name: str, rows: int) -> Array:
        shape, dtype = self._rows_of[name]
        return self._buffers.array((rows, *shape), dtype)
