"""TorchScript models, run by PyTorch.

`torch` is imported when the first TorchScript model is opened. A TorchScript file names the
arguments of its `forward` but says nothing of shapes or datatypes: these are declared, or found by
running a sample of one row and of two.
"""

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from runtimes.capturing import GATE, Gated
from runtimes.device import Device
from runtimes.errors import DeviceMissing, ModelBroken, RunFailed, RuntimeMissing, SignatureUnknown
from runtimes.pinned import pinned_buffers
from runtimes.session import Description, ModelFile, Session
from runtimes.tensors import DATATYPES, VARIABLE, Array, Tensors, TensorSpec, datatype_of
from runtimes.threads import run_threads
from runtimes.torchscript_cuda import Lane
from runtimes.torchscript_forward import Forward, Layout, listed, output_positions
from runtimes.torchscript_tensors import array_of, checked, tensor_of


def open_torchscript(model: ModelFile) -> Session:
    """Load a TorchScript file on its device, and find out what the declarations leave open."""
    if model.device.kind == "cpu":
        return _open(model)
    with GATE.together():
        return Gated(_open(model))


def _open(model: ModelFile) -> "TorchScriptSession":
    torch = import_torch()
    device = _device(torch, model.device)
    module = _load(torch, model, device)
    forward = Forward.of(module, model)
    names = [spec.name for spec in model.inputs] or list(model.samples or ())
    if not names:
        raise _unknown(model, forward)
    _refuse_bytes(model)
    call = _Call(
        torch, module, forward.bind(names, model), device, run_threads(model, "INTRA_OP_THREAD_COUNT")
    )
    steady = not _branches(module.inlined_graph)
    return TorchScriptSession(call, replace(_describe(call, forward, model), steady=steady))


class TorchScriptSession:
    """A module in evaluation mode, frozen where it can be."""

    def __init__(self, call: "_Call", description: Description) -> None:
        self.description = description
        self._call = call
        self._positions = output_positions([spec.name for spec in description.outputs])

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        results = self._call(inputs)
        places: Mapping[str, Any] = self._positions if isinstance(results, tuple) else {}
        try:
            return {name: results[places.get(name, name)] for name in outputs}
        except (KeyError, IndexError):
            raise RunFailed(
                f"the model returned {_told(results)}, none of which is {', '.join(outputs)}"
            ) from None

    def close(self) -> None:
        self._call.close()
        del self._call


class _Call:
    """Runs a module on NumPy arrays; what it returns is a tuple of arrays, or a dict where it names them."""

    def __init__(
        self,
        torch: Any,
        module: Any,
        layout: Layout,
        device: Any,
        threads: int,
    ) -> None:
        self._torch = torch
        self._module = module
        self._layout = layout
        self._threads = threads
        self._writes = _writes_in_place(module.inlined_graph)
        self._lane = None if device.type == "cpu" else Lane(torch, device, pinned_buffers())

    def __call__(self, inputs: Tensors) -> tuple[Array, ...] | dict[str, Array]:
        torch = self._torch
        try:
            if self._lane is not None:
                with torch.inference_mode():
                    return self._lane.run(inputs, lambda tensors: self._module(*self._layout(tensors)))
            if torch.get_num_threads() != self._threads:
                torch.set_num_threads(self._threads)  # OpenMP keeps it for each calling thread
            tensors = {name: self._tensor(array) for name, array in inputs.items()}
            with torch.inference_mode():
                returned = self._module(*self._layout(tensors))
            if isinstance(returned, dict):
                return {name: self._array(tensor, inputs) for name, tensor in returned.items()}
            if isinstance(returned, torch.Tensor):
                return (self._array(returned, inputs),)
            return tuple([self._array(tensor, inputs) for tensor in returned])
        except RunFailed:
            raise
        except Exception as error:
            raise RunFailed(_sentence(error)) from error

    def close(self) -> None:
        if self._lane is not None:
            del self._module
            self._lane.close()

    def _tensor(self, array: Array) -> Any:
        return tensor_of(self._torch, array.copy() if self._writes else array)

    def _array(self, tensor: Any, inputs: Tensors) -> Array:
        array = array_of(self._torch, checked(self._torch, tensor).contiguous())
        return array.copy() if any(np.may_share_memory(array, each) for each in inputs.values()) else array


def import_torch() -> Any:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads OpenMP: idle threads sleep
    try:
        import torch  # here: a process without TorchScript models never loads it
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise RuntimeMissing(
            "torch is not installed, and TorchScript models need it: pip install 'tercet[torch]'"
        ) from error
    except (ImportError, OSError) as error:
        raise RuntimeMissing(f"torch cannot be imported: {str(error).splitlines()[0]}") from error
    torch._C._jit_set_profiling_executor(False)  # else the second run of each shape compiles the graph anew
    warnings.filterwarnings("ignore", message="The given NumPy array is not writ", category=UserWarning)
    return torch


def run_first() -> None:
    """Compile and run next to nothing, on the processor. Raises `RuntimeMissing`."""
    torch = import_torch()
    square = torch.jit.CompilationUnit("def square(x):\n    return torch.matmul(x, x)\n")
    with torch.inference_mode():
        square.square(torch.ones(2, 2))


def _device(torch: Any, device: Device) -> Any:
    if device.kind == "cuda":
        if torch.version.cuda is None:
            raise RuntimeMissing(
                f"the model is to run on {device}, but the installed torch is built without CUDA: "
                "pip uninstall torch, then pip install 'tercet[gpu,torch]'"
            )
        if device.index >= torch.cuda.device_count():
            raise DeviceMissing(
                f"the model is to run on {device}, and torch sees {torch.cuda.device_count()} CUDA devices"
            )
    return torch.device(str(device))


def _load(torch: Any, model: ModelFile, device: Any) -> Any:
    try:
        module = torch.jit.load(str(model.path), map_location=device).eval()
    except Exception as error:  # whatever the runtime stumbles over, the file is at fault
        said = str(error)
        if "constants.pkl" in said:
            raise ModelBroken(
                f"{model.path.name} holds weights or a pickled module, not TorchScript: "
                "save it with torch.jit.script(model).save(path) or torch.jit.trace"
            ) from error
        if "PytorchStreamReader" in said:
            raise ModelBroken(f"{model.path.name} is no TorchScript file, or a part of one") from error
        raise ModelBroken(f"{model.path.name} cannot be loaded: {_sentence(error)}") from error
    try:
        return torch.jit.freeze(module)
    except Exception:  # a module that changes its own attributes as it runs cannot be frozen, but runs
        return module


def _refuse_bytes(model: ModelFile) -> None:
    for spec in (*model.inputs, *model.outputs):
        if spec.datatype == "BYTES":
            raise ModelBroken(
                f"'{spec.name}' of {model.path.name} is declared as TYPE_STRING, and TorchScript has no "
                "tensors of strings; turn text into numbers in the version's pre.py"
            )


def _describe(call: _Call, forward: Forward, model: ModelFile) -> Description:
    if model.inputs and model.outputs:
        specs = (*model.inputs, *model.outputs)
        return Description(model.inputs, model.outputs, all(spec.shape[:1] == (VARIABLE,) for spec in specs))
    probe = _Probe.run(call, model)
    if probe is None:
        raise _unknown(model, forward)
    return Description(model.inputs or probe.inputs, model.outputs or probe.outputs, probe.batches)


@dataclass(frozen=True, slots=True)
class _Probe:
    """What runs of a sample show: with one row and with two where the model allows, else as it is."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: bool

    @classmethod
    def run(cls, call: _Call, model: ModelFile) -> "_Probe | None":
        """None where the sample had to be made up from the declared inputs and the model refuses it."""
        sample = model.samples if model.samples is not None else _zeros(model.inputs)
        one, two = _rows(call, sample, 1), _rows(call, sample, 2)
        if one is not None and two is not None and _follows(one, two):
            return cls(
                tuple(_spec(name, (VARIABLE, *array.shape[1:]), array) for name, array in sample.items()),
                tuple(_spec(name, (VARIABLE, *array.shape[1:]), array) for name, array in one.items()),
                True,
            )
        try:
            results = _named(call(sample))
        except RunFailed as error:
            if model.samples is None:
                return None
            raise ModelBroken(f"{model.path.name} failed on its example: {error}") from error
        return cls(
            tuple(_spec(name, array.shape, array) for name, array in sample.items()),
            tuple(_spec(name, array.shape, array) for name, array in results.items()),
            False,
        )


def _zeros(specs: Sequence[TensorSpec]) -> dict[str, Array]:
    shapes = {spec.name: tuple(1 if size == VARIABLE else size for size in spec.shape) for spec in specs}
    return {spec.name: np.zeros(shapes[spec.name], DATATYPES[spec.datatype].dtype) for spec in specs}


def _rows(call: _Call, sample: Tensors, count: int) -> dict[str, Array] | None:
    """The outputs for the sample's first row, so many times; None where that is not to be had."""
    if any(array.ndim == 0 or not len(array) for array in sample.values()):
        return None
    try:
        return _named(call({name: np.repeat(array[:1], count, axis=0) for name, array in sample.items()}))
    except RunFailed:
        return None


def _follows(one: Tensors, two: Tensors) -> bool:
    return one.keys() == two.keys() and all(
        one[name].shape[:1] == (1,) and two[name].shape == (2, *one[name].shape[1:]) for name in one
    )


def _spec(name: str, shape: tuple[int, ...], array: Array) -> TensorSpec:
    try:
        return TensorSpec(name, datatype_of(array), shape)
    except KeyError:
        raise ModelBroken(
            f"'{name}' has the dtype {array.dtype}, which no datatype of the protocol carries"
        ) from None


def _named(results: tuple[Array, ...] | dict[str, Array]) -> dict[str, Array]:
    if isinstance(results, dict):
        return results
    return {f"OUTPUT__{position}": array for position, array in enumerate(results)}


def _unknown(model: ModelFile, forward: Forward) -> SignatureUnknown:
    takes = [spec.name for spec in model.inputs] or [each.name for each in forward.tensors] or ["KEY"]
    count = forward.returns.count("Tensor") if forward.returns.startswith("Tuple[") else 1
    gives = ["KEY"] if forward.returns.startswith("Dict[") else [f"OUTPUT__{i}" for i in range(count)]
    entry = '{{ name: "{}" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }}'
    return SignatureUnknown(
        f"{model.path.name} does not say what shapes and datatypes it takes and gives: put a golden example "
        "into the version's folder examples/, or write them into config.pbtxt, such as: max_batch_size: 8 "
        f"input [ {', '.join(map(entry.format, takes))} ] output [ {', '.join(map(entry.format, gives))} ]"
    )


def _writes_in_place(graph: Any) -> bool:
    """Whether the graph may write into its inputs: any operator that changes its operand counts."""
    return any(
        node.kind().endswith("_") or any(map(_writes_in_place, node.blocks())) for node in graph.nodes()
    )


def _branches(graph: Any) -> bool:
    """Whether the graph has a loop or a branch: its nodes then hold blocks of their own."""
    return any(any(True for _ in node.blocks()) for node in graph.nodes())


def _told(results: tuple[Array, ...] | dict[str, Array]) -> str:
    return listed(results) if isinstance(results, dict) else f"{len(results)} tensors"


_RAISED = re.compile(r"^[\w.]*(?:Error|Exception): (.+)$", re.MULTILINE)


def _sentence(error: Exception) -> str:
    """What was raised, without TorchScript's two tracebacks."""
    said = str(error)
    raised = _RAISED.findall(said)
    return raised[-1] if raised else (said.strip().splitlines() or [type(error).__name__])[0]
