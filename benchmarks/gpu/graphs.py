"""A network as an ONNX graph."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.gpu.networks import Network, Weights

SEED = 5
OPSETS = (helper.make_opsetid("", 17),)
IR_VERSION = 8
KINDS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int64": TensorProto.INT64}
TYPES = {"float32": "TYPE_FP32", "float16": "TYPE_FP16", "int64": "TYPE_INT64"}

CONFIG = """\
max_batch_size: {most}
input {{ name: "INPUT" data_type: {reads_type} dims: {reads} }}
output {{ name: "OUTPUT" data_type: {writes_type} dims: [ {writes} ] }}
instance_group {{ kind: {kind} count: {count} }}
dynamic_batching {{ }}
parameters {{ key: "intra_op_thread_count" value {{ string_value: "1" }} }}
"""


def lay(network: Network, dtype: str, device: str, repository: Path) -> Path:
    """Write the model's folder into the repository; the file of the model. On a GPU it has two instances."""
    version = repository / f"{network.name}_{dtype}" / "1"
    version.mkdir(parents=True)
    onnx.save(graph(network, dtype), version / "model.onnx")
    config = CONFIG.format(
        most=network.most_rows,
        reads=list(network.reads),
        reads_type=TYPES[network.datatype or dtype],
        writes=network.writes,
        writes_type=TYPES[dtype],
        kind="KIND_GPU" if device == "cuda" else "KIND_CPU",
        count=2 if device == "cuda" else 1,
    )
    (version.parent / "config.pbtxt").write_text(config)
    return version / "model.onnx"


def graph(network: Network, dtype: str) -> onnx.ModelProto:
    ops = _Graph(dtype)
    last = network.build(ops, Weights(SEED), "INPUT")
    ops.nodes.append(helper.make_node("Identity", [last], ["OUTPUT"]))
    kinds = KINDS[network.datatype or dtype], KINDS[dtype]
    made = helper.make_graph(
        ops.nodes,
        network.name,
        [helper.make_tensor_value_info("INPUT", kinds[0], ["rows", *network.reads])],
        [helper.make_tensor_value_info("OUTPUT", kinds[1], ["rows", network.writes])],
        ops.constants,
    )
    return helper.make_model(made, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="tercet")


class _Graph:
    """`Operators` as nodes. Every method returns the name of the tensor that it adds."""

    def __init__(self, dtype: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._dtype = dtype

    def convolution(self, image: str, weights: NDArray[np.float32], stride: int) -> str:
        return self._node(
            "Conv", image, self._constant(weights), strides=[stride] * 2, pads=[weights.shape[-1] // 2] * 4
        )

    def dense(self, rows: str, weights: NDArray[np.float32]) -> str:
        return self._node("MatMul", rows, self._constant(weights))

    def table(self, numbers: str, weights: NDArray[np.float32]) -> str:
        return self._node("Gather", self._constant(weights), numbers)

    def relu(self, rows: str) -> str:
        return self._node("Relu", rows)

    def gelu(self, rows: str) -> str:
        bent = self._node("Erf", self._node("Div", rows, self._constant(2**0.5)))
        weighed = self._node("Mul", rows, self._node("Add", bent, self._constant(1)))
        return self._node("Mul", weighed, self._constant(0.5))

    def mean(self, one: str, other: str) -> str:
        return self._node("Mul", self._node("Add", one, other), self._constant(0.5))

    def add(self, one: str, other: str) -> str:
        return self._node("Add", one, other)

    def shrink(self, image: str) -> str:
        return self._node("MaxPool", image, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])

    def average(self, image: str) -> str:
        return self._node("Flatten", self._node("GlobalAveragePool", image))

    def normal(self, rows: str, width: int) -> str:
        scale, bias = self._constant(np.ones(width)), self._constant(np.zeros(width))
        return self._node("LayerNormalization", rows, scale, bias, axis=-1)

    def attention(self, query: str, key: str, value: str, heads: int, width: int) -> str:
        apart = self._whole([0, 0, heads, width // heads])
        query, value = (
            self._node("Transpose", self._node("Reshape", each, apart), perm=[0, 2, 1, 3])
            for each in (query, value)
        )
        key = self._node("Transpose", self._node("Reshape", key, apart), perm=[0, 2, 3, 1])
        alike = self._node("Mul", self._node("MatMul", query, key), self._constant((heads / width) ** 0.5))
        seen = self._node("MatMul", self._node("Softmax", alike, axis=-1), value)
        together = self._node("Transpose", seen, perm=[0, 2, 1, 3])
        return self._node("Reshape", together, self._whole([0, 0, width]))

    def first(self, rows: str) -> str:
        return self._node("Gather", rows, self._whole(0), axis=1)

    def _node(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def _constant(self, value: object) -> str:
        return self._kept(np.asarray(value, self._dtype))

    def _whole(self, value: object) -> str:
        return self._kept(np.asarray(value, np.int64))

    def _kept(self, value: NDArray[np.generic]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name
