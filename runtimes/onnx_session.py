"""ONNX models, run by ONNX Runtime.

`onnxruntime` is imported when the first ONNX model is opened. A session describes itself: the file
is loaded once, and weights that lie beside it are found by the runtime.
"""

import ctypes
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from runtimes.arena import Shrinking, arena_options, cuda_options, shrinking
from runtimes.capturing import GATE, Gated
from runtimes.cuda_graphs import graph_rows
from runtimes.device import installed_version
from runtimes.errors import DeviceMissing, InputRefused, ModelBroken, RunFailed, RuntimeMissing
from runtimes.onnx_cuda import CudaOnnxSession
from runtimes.onnx_graphs import GraphSession
from runtimes.pinned import pinned_buffers
from runtimes.session import Description, ModelFile, Session
from runtimes.tensors import VARIABLE, Array, Tensors, TensorSpec
from runtimes.threads import SMALL_MODEL_BYTES, run_threads

DATATYPE_NAMES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
    "tensor(bfloat16)": "BF16",
}
ONNX_BFLOAT16 = 16
"""Its number in ONNX's `TensorProto.DataType`."""

SILENT = 4
"""Only fatal errors reach standard error: every other one is raised, and told by whoever handles it."""


_SQUARE = (
    b'\x08\x07\x12\x00:7\n\x11\n\x01x\n\x01x\x12\x01y"\x06MatMul\x12\x00'
    b"Z\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x00\n\x00b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x00\n\x00B\x04\n\x00\x10\r"
)
"""y = MatMul(x, x), in ONNX."""


def open_onnx(model: ModelFile) -> Session:
    """Load an ONNX file on its device."""
    if model.device.kind == "cpu":
        return _on_cpu(model)
    with GATE.together():
        opened = _open(model)
    return _on_cuda(model, *opened)


def _open(model: ModelFile) -> tuple[Any, Description]:
    ort = import_onnxruntime()
    providers = _providers(ort, model)
    options = session_options(ort, model)
    if model.prepared is not None:  # all of that was done when it was made
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(str(model.prepared or model.path), options, providers=providers)
    except Exception as error:  # whatever the runtime stumbles over, the file is at fault
        raise ModelBroken(f"{model.path.name} cannot be loaded: {_sentence(error, model)}") from error
    if model.device.kind == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise DeviceMissing(
            f"{model.path.name} is to run on {model.device}, but ONNX Runtime could not use it: the device, "
            "its driver, or the CUDA and cuDNN libraries of the installed version are missing"
        )
    session.disable_fallback()  # to open every session again on the CPU in mid-run
    return session, _describe(session, model)


def _on_cpu(model: ModelFile) -> Session:
    session, description = _open(model)
    return _kind(description)(session, description, model, shrinking(import_onnxruntime(), model))


def _on_cuda(model: ModelFile, session: Any, description: Description) -> Session:
    """Tensors that NumPy has no word for go the way that they go on the CPU, and wait for their copies."""
    ort, rows = import_onnxruntime(), graph_rows(model)
    gives_back = shrinking(ort, model)
    told = partial(_sentence, model=model)
    if rows:
        return GraphSession(ort, session, description, model, rows, told)
    kind = _kind(description)
    if kind is OnnxSession:
        return Gated(CudaOnnxSession(ort, session, description, gives_back, pinned_buffers(), told))
    return Gated(kind(session, description, model, gives_back))


def _kind(description: Description) -> type["OnnxSession"]:
    datatypes = {spec.datatype for spec in (*description.inputs, *description.outputs)}
    if "BF16" in datatypes:
        return _Bfloat16Session
    return _TextSession if "BYTES" in datatypes else OnnxSession


class OnnxSession:
    """A model whose tensors ONNX Runtime takes and gives as NumPy arrays."""

    def __init__(
        self, session: Any, description: Description, model: ModelFile, shrinking: Shrinking
    ) -> None:
        self.description = description
        self._run: Callable[..., Sequence[Any]] = session.run
        self._session = session
        self._model = model
        self._shrinking = shrinking
        self._left = shrinking.every_runs

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        try:
            self._left -= 1  # two threads may count one run: nobody minds
            if self._left > 0:
                return dict(zip(outputs, self._run(outputs, inputs), strict=True))
            self._left = self._shrinking.every_runs
            return dict(zip(outputs, self._run(outputs, inputs, self._shrinking.options), strict=True))
        except Exception as error:
            raise RunFailed(_sentence(error, self._model)) from error

    def close(self) -> None:
        del self._run, self._session


class _TextSession(OnnxSession):
    """A model with strings, which are UTF-8 text in ONNX and bytes in the protocol."""

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        texts = {
            name: _decoded(name, array) if array.dtype.hasobject else array for name, array in inputs.items()
        }
        results = super().run(texts, outputs)
        return {
            name: _each(str.encode, array) if array.dtype.hasobject else array
            for name, array in results.items()
        }


class _Bfloat16Session(OnnxSession):
    """A model with BF16, which ONNX Runtime takes as two-byte integers and does not give to NumPy."""

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        ort = import_onnxruntime()
        try:
            values = {name: self._value(ort, name, array) for name, array in inputs.items()}
            results = self._session.run_with_ort_values(list(outputs), values)
            return {name: _array(result) for name, result in zip(outputs, results, strict=True)}
        except InputRefused:
            raise
        except Exception as error:
            raise RunFailed(_sentence(error, self._model)) from error

    @staticmethod
    def _value(ort: Any, name: str, array: Array) -> Any:
        if array.dtype == ml_dtypes.bfloat16:
            return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), ONNX_BFLOAT16)
        return ort.OrtValue.ortvalue_from_numpy(_decoded(name, array) if array.dtype.hasobject else array)


def _array(value: Any) -> Array:
    if value.data_type() == "tensor(bfloat16)":
        size = value.tensor_size_in_bytes()
        content = ctypes.string_at(value.data_ptr(), size) if size else b""
        flat = np.frombuffer(bytearray(content), ml_dtypes.bfloat16)
        return flat.reshape(value.shape())
    array: Array = value.numpy()
    return _each(str.encode, array) if array.dtype.hasobject else array


def _each(convert: Callable[[Any], Any], array: Array) -> Array:
    converted = np.empty(array.shape, np.object_)
    converted.ravel()[:] = [convert(element) for element in array.ravel()]
    return converted


def _decoded(name: str, array: Array) -> Array:
    try:
        return _each(lambda element: element if isinstance(element, str) else element.decode(), array)
    except UnicodeDecodeError as error:
        raise InputRefused(
            f"input '{name}' has an element that is not UTF-8 text, which is all that an ONNX string can hold"
        ) from error


def import_onnxruntime() -> Any:
    """The package, with its telemetry off: it would keep a database in the home folder, and send it home.

    An operator who wants it sets ORT_DISABLE_TELEMETRY=0.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime  # here: a process without ONNX models never loads it
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise RuntimeMissing(
            "onnxruntime is not installed, and ONNX models need it: pip install 'tercet[cpu]', "
            "or 'tercet[gpu]' on a machine with a CUDA device"
        ) from error
    except ImportError as error:
        raise RuntimeMissing(f"onnxruntime cannot be imported: {str(error).splitlines()[0]}") from error
    if not hasattr(onnxruntime, "InferenceSession"):  # what an uninstall of one of two packages leaves
        raise RuntimeMissing(
            "onnxruntime is installed in part, as when one of its two packages was removed: pip uninstall "
            "onnxruntime onnxruntime-gpu, then pip install 'tercet[cpu]' or 'tercet[gpu]'"
        )
    return onnxruntime


def run_first() -> None:
    """Open and run a model of next to nothing, on the processor. Raises `RuntimeMissing`."""
    session = import_onnxruntime().InferenceSession(_SQUARE, providers=["CPUExecutionProvider"])
    session.run(None, {"x": np.ones((2, 2), np.float32)})


def _providers(ort: Any, model: ModelFile) -> list[Any]:
    device = model.device
    if device.kind == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        if installed_version("onnxruntime") and installed_version("onnxruntime-gpu"):
            raise RuntimeMissing(
                "onnxruntime and onnxruntime-gpu are both installed, and the first hides the second, so "
                "no CUDA device can be used: pip uninstall onnxruntime onnxruntime-gpu, "
                "then pip install 'tercet[gpu]'"
            )
        raise RuntimeMissing(
            f"the model is to run on {device}, but the installed onnxruntime is built without CUDA: "
            "pip uninstall onnxruntime, then pip install 'tercet[gpu]'"
        )
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA libraries that pip installed lie where no loader looks
    cuda = {"device_id": str(device.index), **cuda_options(model)}
    if graph_rows(model):
        cuda["enable_cuda_graph"] = "1"
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]


def session_options(ort: Any, model: ModelFile) -> Any:
    """How a model of this configuration is opened. Raises `ModelBroken`."""
    options = ort.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = run_threads(model, "intra_op_thread_count")
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    arena_options(options, model)
    return options


def _describe(session: Any, model: ModelFile) -> Description:
    inputs = tuple(_spec(value, "input", model, model.inputs) for value in session.get_inputs())
    outputs = tuple(_spec(value, "output", model, model.outputs) for value in session.get_outputs())
    batches = bool(inputs) and all(spec.shape[:1] == (VARIABLE,) for spec in (*inputs, *outputs))
    return Description(inputs, outputs, batches, _is_steady(model.path))


CONTROL_FLOW = tuple(b"\x22" + bytes([len(name)]) + name for name in (b"If", b"Loop", b"Scan"))
"""These operators as a node of the file names them: `op_type`, field 4, then its length."""


def _is_steady(path: Path) -> bool:
    """Say that no operator's time hangs on values. For a small file only: of a larger one nobody asks."""
    if path.stat().st_size > SMALL_MODEL_BYTES:
        return False
    content = path.read_bytes()
    return not any(operator in content for operator in CONTROL_FLOW)


def _spec(value: Any, role: str, model: ModelFile, declared: Sequence[TensorSpec]) -> TensorSpec:
    datatype = DATATYPE_NAMES.get(value.type)
    if datatype is None:
        again = (
            "; export it again without ZipMap, with skl2onnx: to_onnx(..., options={'zipmap': False})"
            if "map(" in value.type
            else ""
        )
        raise ModelBroken(
            f"{role} '{value.name}' of {model.path.name} is a {value.type}, "
            f"and only tensors can be served{again}"
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else VARIABLE for size in value.shape or ())
    if not shape:  # a scalar, or a rank that the file leaves open: ONNX Runtime does not tell them apart
        shape = next((spec.shape for spec in declared if spec.name == value.name), ())
    return TensorSpec(value.name, datatype, shape)


_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:Load model from .* failed: ?)?")
_PLACE = re.compile(r"(?:(?<=\s)|^)/?(?:[\w.+-]+/)+[\w.+-]+:\d+ [^\n]*?\)(?: const)?(?: \[[^\]]*\])? ")


def _sentence(error: Exception, model: ModelFile) -> str:
    """What the runtime says, on one line, without its code, its own source files, or our paths."""
    said = str(error).split("\nStacktrace")[0].replace(str(model.path), model.path.name)
    said = said.replace(f"{model.path.parent}/", "")
    return " ".join(_PLACE.sub("", _CODE.sub("", said)).split()) or type(error).__name__
