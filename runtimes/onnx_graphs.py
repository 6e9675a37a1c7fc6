"""ONNX models as CUDA graphs: one for each row count that was asked for, recorded when the model is opened.

ONNX Runtime keeps a graph with the thread that recorded it, has all runs of such a session on one stream, and
allows one of them at a time; so one thread of the session does them all, and instances wait for each other
there. A graph reads and writes the places on the device that it was recorded with. What is recorded is
compared with a run that is not, since some kernels cannot be recorded rightly.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from runtimes.capturing import GATE, Gate
from runtimes.cuda_graphs import check_fixed, shape_for
from runtimes.device import Device
from runtimes.errors import ModelBroken, RunFailed
from runtimes.session import Description, ModelFile
from runtimes.tensors import DATATYPES, Array, Tensors

RUNS_TO_RECORD = 4
"""Two take the memory that is needed, as a recording must take none, the next one records, and one replays
it."""

GRAPH_ID = "gpu_graph_id"
NO_GRAPH = "-1"
SAME = 0.02
"""How far a graph's answers may be from those without: fast convolutions are not exact to the last bit."""


class GraphSession:
    """`run` is called from several threads, which take turns on the session's own.

    told   a runtime's exception in one sentence
    """

    def __init__(
        self,
        ort: Any,
        session: Any,
        description: Description,
        model: ModelFile,
        rows: Sequence[int],
        told: Callable[[Exception], str],
        gate: Gate = GATE,
    ) -> None:
        """Record all graphs. Raises `ModelBroken`."""
        check_fixed(description, model)
        self.description = description
        self._session = session
        self._told = told
        self._gate = gate
        self._names = tuple(spec.name for spec in description.outputs)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"graphs of {model.path.name}")
        self._without = ort.RunOptions()
        self._without.add_run_config_entry(GRAPH_ID, NO_GRAPH)
        self._graphs: dict[int, _Graph] = {}
        try:
            for count in rows:
                self._thread.submit(self._record, ort, count, model).result()
            if not self._graphs:
                raise ModelBroken("say with how many rows: max_batch_size, or graph_spec with a batch_size")
        except Exception as error:
            self.close()
            raise ModelBroken(f"{model.path.name} cannot run as a CUDA graph: {told(error)}") from error

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        return self._thread.submit(self._run, inputs, outputs).result()

    def close(self) -> None:
        """The thread goes with what it recorded."""
        self._thread.submit(self._forget).result()
        self._thread.shutdown()

    def _forget(self) -> None:
        with self._gate.together():
            self._graphs.clear()
            del self._session

    def _run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        batches = self.description.batches
        graph = self._graphs.get(len(next(iter(inputs.values()))) if batches else 0)
        try:
            with self._gate.together():
                if graph is not None and graph.takes(inputs):
                    return graph.run(inputs, outputs)
                return dict(zip(outputs, self._session.run(outputs, inputs, self._without), strict=True))
        except RunFailed:
            raise
        except Exception as error:
            raise RunFailed(self._told(error)) from error

    def _record(self, ort: Any, rows: int, model: ModelFile) -> None:
        if bool(rows) != self.description.batches:
            return  # of a model that does not batch there is one graph, and it is number 0
        sample = self._sample(rows)
        with self._gate.alone():
            graph = _Graph(ort, self._session, self.description, rows, model.device)
            for _ in range(RUNS_TO_RECORD):
                replayed = graph.run(sample, self._names)
            plain = self._session.run(self._names, sample, self._without)
        for name, expected in zip(self._names, plain, strict=True):
            if not _alike(replayed[name], expected):
                raise ModelBroken(f"with {rows} rows, '{name}' differs from what a run without a graph gives")
        self._graphs[rows] = graph

    def _sample(self, rows: int) -> dict[str, Array]:
        """Numbers of a seed for floats; zeros for the rest, which may be positions in a table."""
        random = np.random.default_rng(rows)
        sample = {}
        for spec in self.description.inputs:
            shape, dtype = shape_for(spec, rows, self.description.batches), DATATYPES[spec.datatype].dtype
            floats = dtype.kind == "f"
            sample[spec.name] = (random.standard_normal(shape) if floats else np.zeros(shape)).astype(dtype)
        return sample


class _Graph:
    """A recorded run, or one that is going to be: places on the device, and the number it is known by."""

    def __init__(self, ort: Any, session: Any, description: Description, rows: int, device: Device) -> None:
        self._session = session
        self._options = ort.RunOptions()
        self._options.add_run_config_entry(GRAPH_ID, str(rows + 1))
        self._binding = session.io_binding()
        self._inputs, self._outputs = (
            {
                spec.name: ort.OrtValue.ortvalue_from_shape_and_type(
                    shape_for(spec, rows, description.batches),
                    DATATYPES[spec.datatype].dtype.type,
                    device.kind,
                    device.index,
                )
                for spec in specs
            }
            for specs in (description.inputs, description.outputs)
        )
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def takes(self, inputs: Tensors) -> bool:
        return inputs.keys() == self._inputs.keys() and all(
            tuple(self._inputs[name].shape()) == array.shape for name, array in inputs.items()
        )

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        """The copies wait until they are done, so nothing overtakes the graph on its stream."""
        for name, array in inputs.items():
            self._inputs[name].update_inplace(array)
        self._session.run_with_iobinding(self._binding, self._options)
        return {name: _own(self._outputs[name].numpy()) for name in outputs}


def _own(array: Array) -> Array:
    """Bytes that the next run does not write: of what lies on a device, NumPy has a copy already."""
    return array if array.flags.owndata else array.copy()


def _alike(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    wide = one.astype(np.float64), other.astype(np.float64)
    scale = float(np.max(np.abs(wide[1]), initial=0.0, where=np.isfinite(wide[1])))
    return bool(np.allclose(*wide, rtol=SAME, atol=SAME * scale, equal_nan=True))
