"""The synthetic models as ONNX graphs, with weights from a fixed seed: the same bytes on every machine.

Each reads INPUT and writes OUTPUT, float32, rows along the first axis. Weights are scaled so that activations
neither grow nor vanish from layer to layer.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = (helper.make_opsetid("", 17),)
IR_VERSION = 8  # the one that came with opset 17

WIDE_FLOATS = 2**20 // 4
CNN_PIXELS = 64


def tiny() -> onnx.ModelProto:
    """A perceptron 64-256-256-10: it runs in microseconds, so all the rest of a request shows."""
    net = _Network(seed=1)
    hidden = net.node("Relu", net.dense("INPUT", 64, 256))
    hidden = net.node("Relu", net.dense(hidden, 256, 256))
    net.dense(hidden, 256, 10, output="OUTPUT")
    return net.model("tiny", reads=(64,), writes=(10,))


def large() -> onnx.ModelProto:
    """A residual network of ResNet-18's layers: tens of milliseconds of one core for an image."""
    net = _Network(seed=2)
    image = net.node("Relu", net.convolution("INPUT", 3, 64, kernel=7, stride=2))
    image = net.node("MaxPool", image, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for wider, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        image = net.residual_block(image, channels, wider, stride)
        image = net.residual_block(image, wider, wider, 1)
        channels = wider
    features = net.node("Flatten", net.node("GlobalAveragePool", image))
    net.dense(features, channels, 1000, output="OUTPUT")
    return net.model("large", reads=(3, 224, 224), writes=(1000,))


def cnn() -> onnx.ModelProto:
    """A residual network for small images: some milliseconds of one core for each, with little to copy."""
    net = _Network(seed=4)
    image = net.node("Relu", net.convolution("INPUT", 3, 64, kernel=7, stride=2))
    channels = 64
    for wider, stride in ((64, 1), (128, 2), (256, 2)):
        image = net.residual_block(image, channels, wider, stride)
        channels = wider
    features = net.node("Flatten", net.node("GlobalAveragePool", image))
    net.dense(features, channels, 100, output="OUTPUT")
    return net.model("cnn", reads=(3, CNN_PIXELS, CNN_PIXELS), writes=(100,))


def wide() -> onnx.ModelProto:
    """Doubles 1 MiB of numbers: next to no work, so all the copying of a request shows."""
    net = _Network(seed=3)
    net.node("Mul", "INPUT", net.constant(np.array(2, np.float32)), output="OUTPUT")
    return net.model("wide", reads=(WIDE_FLOATS,), writes=(WIDE_FLOATS,))


class _Network:
    """A graph in the making. Every method returns the name of the tensor that it adds."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, value: np.ndarray) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def weights(self, *shape: int, fan_in: int) -> str:
        """Normal weights of variance 2 / fan_in, which keep the scale through a Relu."""
        return self.constant(
            self._random.standard_normal(shape, np.float32) * np.float32((2 / fan_in) ** 0.5)
        )

    def dense(self, rows: str, width: int, wider: int, *, output: str = "") -> str:
        bias = self.constant(np.zeros(wider, np.float32))
        return self.node("Gemm", rows, self.weights(width, wider, fan_in=width), bias, output=output)

    def convolution(self, image: str, channels: int, wider: int, *, kernel: int, stride: int) -> str:
        weights = self.weights(wider, channels, kernel, kernel, fan_in=channels * kernel * kernel)
        bias = self.constant(np.zeros(wider, np.float32))
        return self.node("Conv", image, weights, bias, strides=[stride] * 2, pads=[kernel // 2] * 4)

    def residual_block(self, image: str, channels: int, wider: int, stride: int) -> str:
        """Two convolutions and a way around them, added with half the weight each."""
        inner = self.node("Relu", self.convolution(image, channels, wider, kernel=3, stride=stride))
        inner = self.convolution(inner, wider, wider, kernel=3, stride=1)
        around = image
        if stride > 1 or wider != channels:
            around = self.convolution(image, channels, wider, kernel=1, stride=stride)
        half = self.constant(np.array(0.5, np.float32))
        return self.node("Relu", self.node("Mul", self.node("Add", inner, around), half))

    def model(self, name: str, *, reads: tuple[int, ...], writes: tuple[int, ...]) -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info("INPUT", TensorProto.FLOAT, ["batch", *reads])]
        outputs = [helper.make_tensor_value_info("OUTPUT", TensorProto.FLOAT, ["batch", *writes])]
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
        return helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="tercet")
