"""Writes trained models and golden examples as files, runs such a file once, and reads no data itself.

The bytes of a file depend on its content alone: not on the day, the process or where libraries are installed.
"""

import base64
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
IR_VERSION = 8  # the one that came with opset 17

Tensors = Mapping[str, np.ndarray]
Shapes = Mapping[str, list[str | int]]


def write_torchscript(network: nn.Module, example: torch.Tensor, folder: Path) -> None:
    """Save the traced network, less what tells machines apart: its sources' paths, and a hash over them."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(network, example), buffer)
    with zipfile.ZipFile(buffer) as saved, zipfile.ZipFile(folder / "model.pt", "w") as kept:
        for name in saved.namelist():
            if not name.endswith((".debug_pkl", "serialization_id")):
                kept.writestr(zipfile.ZipInfo(name), saved.read(name))


def run_torchscript(folder: Path, inputs: Tensors) -> dict[str, np.ndarray]:
    model = torch.jit.load(folder / "model.pt")
    with torch.inference_mode():
        return {"OUTPUT__0": model(torch.from_numpy(inputs["INPUT__0"])).numpy()}


def write_onnx(model: onnx.ModelProto, folder: Path) -> None:
    model.ir_version = IR_VERSION
    del model.opset_import[:]  # skl2onnx names opset 17 twice
    model.opset_import.extend(OPSETS)
    onnx.checker.check_model(model, full_check=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))


def run_onnx(folder: Path, inputs: Tensors) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def onnx_model(
    name: str, nodes: list[onnx.NodeProto], inputs: Shapes, outputs: Shapes, weights: Tensors
) -> onnx.ModelProto:
    """A graph whose inputs, outputs and weights are all FP32."""

    def declared(tensors: Shapes) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(key, TensorProto.FLOAT, dims) for key, dims in tensors.items()]

    kept = [numpy_helper.from_array(np.asarray(value, np.float32), key) for key, value in weights.items()]
    return helper.make_model(helper.make_graph(nodes, name, declared(inputs), declared(outputs), kept))


def onnx_network(name: str, layers: nn.Sequential, inputs: Shapes, outputs: Shapes) -> onnx.ModelProto:
    """A chain of PyTorch layers, from the one input to the one output, as the same chain in ONNX."""
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, np.ndarray] = {}
    (flow,), (end,) = inputs, outputs
    for place, layer in enumerate(layers):
        parameters = {f"{place}.{name}": tensor.numpy() for name, tensor in layer.state_dict().items()}
        operator, attributes = _operator(layer)
        result = f"{place}.{operator.lower()}" if place < len(layers) - 1 else end
        nodes.append(helper.make_node(operator, [flow, *parameters], [result], **attributes))
        weights |= parameters
        flow = result
    return onnx_model(name, nodes, inputs, outputs, weights)


def _operator(layer: nn.Module) -> tuple[str, dict[str, Any]]:
    match layer:
        case nn.Conv2d():
            return "Conv", {"kernel_shape": layer.kernel_size, "pads": [*layer.padding, *layer.padding]}
        case nn.MaxPool2d():
            return "MaxPool", {"kernel_shape": [layer.kernel_size] * 2, "strides": [layer.stride] * 2}
        case nn.Linear():
            return "Gemm", {"transB": 1}
        case nn.ReLU():
            return "Relu", {}
        case nn.Flatten():
            return "Flatten", {}
    raise NotImplementedError(type(layer).__name__)


def write_example(folder: Path, name: str, request: Tensors, response: Tensors, decimals: int = 4) -> None:
    """Keep what a client sends, and what it is answered to so many decimals."""
    golden = {
        "request": {"inputs": [_as_json(key, tensor) for key, tensor in request.items()]},
        "response": {
            "outputs": [_as_json(key, np.round(tensor, decimals)) for key, tensor in response.items()]
        },
        "tolerance": 10.0**-decimals,
    }
    (folder / "examples").mkdir(exist_ok=True)
    (folder / "examples" / f"{name}.json").write_text(json.dumps(golden, indent=2) + "\n")


def _as_json(name: str, tensor: np.ndarray) -> dict[str, Any]:
    """A tensor in the words of the Open Inference Protocol, its data flat and row-major."""
    data: list[Any]
    if tensor.dtype == object:
        datatype, data = "BYTES", [{"b64": base64.b64encode(content).decode()} for content in tensor.flat]
    elif tensor.dtype == np.int64:
        datatype, data = "INT64", tensor.ravel().tolist()
    else:
        datatype, data = "FP32", [float(str(value)) for value in tensor.flat]  # 0.1, not 0.10000000149
    return {"name": name, "shape": list(tensor.shape), "datatype": datatype, "data": data}
