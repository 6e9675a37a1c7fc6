"""The same small models, written once for each runtime, with the same seeded weights."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from runtimes.session import ModelFile
from runtimes.tensors import DATATYPES, Array, TensorSpec

SIZES = (64, 256, 256, 10)

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
    "BF16": TensorProto.BFLOAT16,
}


def mlp_weights() -> list[tuple[Array, Array]]:
    random = np.random.default_rng(7)
    return [
        (
            (random.standard_normal((wide, deep)) / np.sqrt(wide)).astype(np.float32),
            random.standard_normal(deep).astype(np.float32),
        )
        for wide, deep in pairwise(SIZES)
    ]


def mlp_by_hand(rows: Array) -> Array:
    for number, (weights, bias) in enumerate(mlp_weights()):
        rows = rows @ weights + bias
        if number < len(SIZES) - 2:
            rows = np.maximum(rows, 0)
    return rows


def some_rows(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, SIZES[0])).astype(np.float32)


def values_of(datatype: str) -> Array:
    """Two rows of three elements that tell this datatype from its neighbours."""
    if datatype == "BYTES":
        return np.array([[b"", "é".encode(), b"a\0b"], [b"x", b"yy", b"z\0"]], object)
    dtype = DATATYPES[datatype].dtype
    if datatype == "BOOL":
        return np.array([[True, False, True], [False, False, True]])
    if dtype.kind in "iu":
        ends = np.iinfo(dtype)
        return np.array([[ends.min, 0, ends.max], [1, 2, 3]], dtype)
    return np.array([[-1.5, 0.25, 2.0], [np.inf, 0.0, 96.0]]).astype(dtype)


def onnx_model(
    folder: Path,
    nodes: list[onnx.NodeProto],
    inputs: list,
    outputs: list,
    weights: tuple = (),
    **saving: object,
) -> Path:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / "model.onnx"
    onnx.save(model, path, **saving)
    return path


def value(name: str, datatype: str, dims: list) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, ONNX_TYPES[datatype], dims)


def onnx_mlp(folder: Path, **saving: object) -> ModelFile:
    nodes, weights, flow = [], [], "x"
    for number, (matrix, bias) in enumerate(mlp_weights()):
        weights += [
            numpy_helper.from_array(matrix, f"w{number}"),
            numpy_helper.from_array(bias, f"b{number}"),
        ]
        last = number == len(SIZES) - 2
        nodes.append(
            helper.make_node("Gemm", [flow, f"w{number}", f"b{number}"], ["y" if last else f"g{number}"])
        )
        if not last:
            nodes.append(helper.make_node("Relu", [f"g{number}"], [f"r{number}"]))
        flow = f"r{number}"
    path = onnx_model(
        folder,
        nodes,
        [value("x", "FP32", ["n", 64])],
        [value("y", "FP32", ["n", 10])],
        tuple(weights),
        **saving,
    )
    return ModelFile(path=path)


def onnx_identity(folder: Path, datatype: str) -> ModelFile:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    return ModelFile(
        path=onnx_model(folder, nodes, [value("x", datatype, ["n", 3])], [value("y", datatype, ["n", 3])])
    )


def onnx_sum_and_difference(folder: Path) -> ModelFile:
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["difference"]),
    ]
    inputs = [value("a", "FP32", ["n", 3]), value("b", "FP32", ["n", 3])]
    outputs = [value("sum", "FP32", ["n", 3]), value("difference", "FP32", ["n", 3])]
    return ModelFile(path=onnx_model(folder, nodes, inputs, outputs))


def onnx_pairs(folder: Path) -> ModelFile:
    nodes = [helper.make_node("Reshape", ["x", "pairs"], ["y"])]
    pairs = numpy_helper.from_array(np.array([-1, 2]), "pairs")
    return ModelFile(
        path=onnx_model(folder, nodes, [value("x", "FP32", ["n"])], [value("y", "FP32", ["m", 2])], (pairs,))
    )


class Mlp(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential()
        for number, (matrix, bias) in enumerate(mlp_weights()):
            layer = torch.nn.Linear(*matrix.shape)
            layer.weight.data, layer.bias.data = torch.from_numpy(matrix.T.copy()), torch.from_numpy(bias)
            self.layers.append(layer)
            if number < len(SIZES) - 2:
                self.layers.append(torch.nn.ReLU(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Identity(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class SumAndDifference(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a + b, a - b


class Pairs(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1, 2)


def script(folder: Path, module: torch.nn.Module) -> Path:
    path = folder / "model.pt"
    torch.jit.script(module.eval()).save(str(path))
    return path


def torch_mlp(folder: Path) -> ModelFile:
    return ModelFile(
        path=script(folder, Mlp()),
        inputs=(TensorSpec("x", "FP32", (-1, 64)),),
        outputs=(TensorSpec("y", "FP32", (-1, 10)),),
    )


def torch_identity(folder: Path, datatype: str) -> ModelFile:
    return ModelFile(
        path=script(folder, Identity()),
        inputs=(TensorSpec("x", datatype, (-1, 3)),),
        outputs=(TensorSpec("y", datatype, (-1, 3)),),
    )


def torch_sum_and_difference(folder: Path) -> ModelFile:
    return ModelFile(
        path=script(folder, SumAndDifference()),
        inputs=(TensorSpec("a", "FP32", (-1, 3)), TensorSpec("b", "FP32", (-1, 3))),
        outputs=(TensorSpec("sum", "FP32", (-1, 3)), TensorSpec("difference", "FP32", (-1, 3))),
    )


def torch_pairs(folder: Path) -> ModelFile:
    return ModelFile(
        path=script(folder, Pairs()),
        inputs=(TensorSpec("x", "FP32", (-1,)),),
        outputs=(TensorSpec("y", "FP32", (-1, 2)),),
    )


@dataclass(frozen=True)
class Kit:
    """How to build the models of the contract for one runtime."""

    name: str
    mlp: Callable[[Path], ModelFile]
    identity: Callable[[Path, str], ModelFile]
    sum_and_difference: Callable[[Path], ModelFile]
    pairs: Callable[[Path], ModelFile]
    datatypes: tuple[str, ...]


KITS = (
    Kit("onnx", onnx_mlp, onnx_identity, onnx_sum_and_difference, onnx_pairs, tuple(DATATYPES)),
    Kit(
        "torchscript",
        torch_mlp,
        torch_identity,
        torch_sum_and_difference,
        torch_pairs,
        tuple(name for name in DATATYPES if name != "BYTES"),
    ),
)


# Models that only sleep: they keep the part of the contract that is not about computing


def sleeping(folder: Path, inputs: list[TensorSpec], outputs: list[TensorSpec], **facts: object) -> ModelFile:
    path = folder / "model.sleep"
    said = {
        kind: [{"name": spec.name, "datatype": spec.datatype, "shape": spec.shape} for spec in specs]
        for kind, specs in (("inputs", inputs), ("outputs", outputs))
    }
    path.write_text(json.dumps(said | facts))
    return ModelFile(path=path)


def sleeping_mlp(folder: Path) -> ModelFile:
    return sleeping(folder, [TensorSpec("x", "FP32", (-1, 64))], [TensorSpec("y", "FP32", (-1, 10))])


def sleeping_identity(folder: Path, datatype: str) -> ModelFile:
    return sleeping(folder, [TensorSpec("x", datatype, (-1, 3))], [TensorSpec("y", datatype, (-1, 3))])


@dataclass(frozen=True)
class SleepingKit:
    """Shapes and copies, where a `Kit` computes."""

    name: str = "sleeping"
    mlp: Callable[[Path], ModelFile] = sleeping_mlp
    identity: Callable[[Path, str], ModelFile] = sleeping_identity
    datatypes: tuple[str, ...] = tuple(DATATYPES)


ALL_KITS = (*KITS, SleepingKit())


def on(device: object, model: ModelFile) -> ModelFile:
    return replace(model, device=device)
