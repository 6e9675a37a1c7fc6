"""Models that only sleep, for rehearsals of scheduling and autoscaling: exact times, known answers, no work.

A model file says in JSON what it reads and writes and how long a run takes:

    {"inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [-1, 4]}],
     "outputs": [{"name": "OUTPUT", "datatype": "FP32", "shape": [-1, 4]}],
     "service_time": {"fixed_ms": 2, "per_row_ms": 0.5, "table_ms": {"8": 5}, "jitter": 0.1, "seed": 1},
     "units": 1}

`service_time` is `ServiceTime`, any part of which may be left out. An output that stands where an input of
its datatype and shape stands is a copy of it, any other is zeros. `units`: all models of this process that
name the same number share one device of so many units (`runtimes.sharing`); left out, no run feels another.
"""

import ctypes
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from runtimes.errors import ModelBroken
from runtimes.service_time import ServiceTime
from runtimes.session import Description, ModelFile
from runtimes.sharing import Sharing
from runtimes.tensors import DATATYPES, VARIABLE, Array, Tensors, TensorSpec

PR_SET_TIMERSLACK = 29  # Linux: how late this thread may wake, 50 us unless told otherwise


def open_sleeping(model: ModelFile) -> "SleepingSession":
    """Read what the model says of itself. Raises `ModelBroken`."""
    name = model.path.name
    try:
        said = json.loads(model.path.read_bytes())
        inputs, outputs = _specs(said["inputs"]), _specs(said["outputs"])
        times = dict(said.get("service_time", {}))
        times["table_ms"] = {int(rows): float(ms) for rows, ms in times.get("table_ms", {}).items()}
        service = ServiceTime(**times)
        occupy = _device(float(said["units"])).occupy if "units" in said else _sleep
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise ModelBroken(f"{name} does not describe a model that sleeps: {what}") from error
    batches = all(spec.shape and spec.shape[0] == VARIABLE for spec in (*inputs, *outputs))
    return SleepingSession(Description(inputs, outputs, batches), service, occupy)


class SleepingSession:
    """`occupy` blocks the calling thread for so many nanoseconds of work."""

    def __init__(
        self, description: Description, service: ServiceTime, occupy: Callable[[int, int], None]
    ) -> None:
        self.description = description
        self._occupy = occupy
        self._draw = service.draws()
        self._drawing = threading.Lock()  # a series has one order, whichever instance is next
        self._copies = {
            output.name: read.name
            for read, output in zip(description.inputs, description.outputs, strict=False)
            if (read.datatype, read.shape) == (output.datatype, output.shape)
        }
        self._specs = {spec.name: spec for spec in description.outputs}

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        began = time.monotonic_ns()
        rows = next((len(array) for array in inputs.values() if array.ndim), 1)
        with self._drawing:
            ns = self._draw(rows)
        answer = {name: self._answer(name, inputs, rows) for name in outputs}
        self._occupy(began, ns)
        return answer

    def close(self) -> None:
        """It holds nothing."""

    def _answer(self, name: str, inputs: Tensors, rows: int) -> Array:
        if name in self._copies:
            return inputs[self._copies[name]].copy()
        spec = self._specs[name]
        sizes = [1 if size == VARIABLE else size for size in spec.shape]
        if spec.shape and spec.shape[0] == VARIABLE:
            sizes[0] = rows
        if spec.datatype == "BYTES":
            return np.full(sizes, b"", object)
        return np.zeros(sizes, DATATYPES[spec.datatype].dtype)


class SharedDevice:
    """A device in real time: its runs slow each other as `Sharing` says."""

    def __init__(self, units: float) -> None:
        self._sharing = Sharing(units)
        self._over: set[int] = set()
        self._change = threading.Lock()

    def occupy(self, began: int, ns: int) -> None:
        """Whoever joins meanwhile makes a run longer and none shorter, so nobody need be woken for it."""
        with self._change:
            number = self._sharing.join(time.monotonic_ns(), ns)
        while (left := self._left(number)) > 0:
            _sleep(time.monotonic_ns(), left)

    def _left(self, number: int) -> int:
        """How long this run goes on at least; 0 once it is over, which is told once."""
        with self._change:
            now = time.monotonic_ns()
            self._over.update(self._sharing.ended(now))
            if number in self._over:
                self._over.remove(number)
                return 0
            due = self._sharing.next_end()
            return max(1, due - now) if due is not None else 0


_devices: dict[float, SharedDevice] = {}
_devices_change = threading.Lock()
_punctual = threading.local()


def _device(units: float) -> SharedDevice:
    with _devices_change:
        if units not in _devices:
            _devices[units] = SharedDevice(units)
        return _devices[units]


def _sleep(began: int, ns: int) -> None:
    """Until `ns` after `began`, whatever of it has gone already."""
    _wake_on_time()
    left = began + ns - time.monotonic_ns()
    if left > 0:
        time.sleep(left / 1e9)


def _wake_on_time() -> None:
    """Have the kernel wake the calling thread when it asked to be; else it lets it sleep a little longer."""
    if not getattr(_punctual, "set", False):
        _punctual.set = True
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)


def _specs(said: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    specs = tuple(
        TensorSpec(str(each["name"]), str(each["datatype"]), tuple(int(size) for size in each["shape"]))
        for each in said
    )
    for spec in specs:
        if spec.datatype not in DATATYPES:
            raise ValueError(f"'{spec.name}' has the datatype {spec.datatype}, which is none")
    if not specs:
        raise ValueError("it names no tensors")
    return specs
