"""The networks that a GPU is measured with, each written once, over operators that somebody else provides.

As an ONNX graph (`graphs.py`) and in torch (`twins.py`) they have the same weights, drawn from a seed in the
order of their use. INPUT to OUTPUT, rows along the first axis. `quick` makes them small, so that a machine
without a device can try all of this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Tensor = Any
"""A name in a graph, or a tensor of torch."""


class Weights:
    """Normal numbers of a seed, of variance 2 / fan_in: activations neither grow nor vanish."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def draw(self, *shape: int, fan_in: int) -> NDArray[np.float32]:
        return self._random.standard_normal(shape, np.float32) * np.float32((2 / fan_in) ** 0.5)


class Operators(Protocol):
    """What the networks are made of."""

    def convolution(self, image: Tensor, weights: NDArray[np.float32], stride: int) -> Tensor: ...

    def dense(self, rows: Tensor, weights: NDArray[np.float32]) -> Tensor: ...

    def table(self, numbers: Tensor, weights: NDArray[np.float32]) -> Tensor: ...

    def relu(self, rows: Tensor) -> Tensor: ...

    def gelu(self, rows: Tensor) -> Tensor: ...

    def mean(self, one: Tensor, other: Tensor) -> Tensor: ...

    def add(self, one: Tensor, other: Tensor) -> Tensor: ...

    def shrink(self, image: Tensor) -> Tensor: ...

    def average(self, image: Tensor) -> Tensor: ...

    def normal(self, rows: Tensor, width: int) -> Tensor: ...

    def attention(self, query: Tensor, key: Tensor, value: Tensor, heads: int, width: int) -> Tensor: ...

    def first(self, rows: Tensor) -> Tensor: ...


Build = Callable[[Operators, Weights, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """
    reads         the shape of a row; writes: how many numbers a row gives
    datatype      of the input where it is not that of the weights
    most_rows     of a batch, at most, while the best is looked for
    """

    name: str
    build: Build
    reads: tuple[int, ...]
    writes: int
    most_rows: int
    datatype: str = ""
    highest: int = 0

    def row(self, count: int, dtype: str) -> NDArray[Any]:
        """So many rows of a seed."""
        random = np.random.default_rng(count)
        if self.datatype:
            return random.integers(0, self.highest, (count, *self.reads), self.datatype)
        return random.standard_normal((count, *self.reads), np.float32).astype(dtype)


def resnet50(*, quick: bool) -> Network:
    """ResNet-50's layers: 3, 4, 6 and 3 blocks of three convolutions."""
    blocks, wide, side = ((1, 1), 8, 32) if quick else ((3, 4, 6, 3), 64, 224)

    def build(ops: Operators, weights: Weights, image: Tensor) -> Tensor:
        def convolution(image: Tensor, channels: int, wider: int, kernel: int, stride: int) -> Tensor:
            fan_in = channels * kernel * kernel
            return ops.convolution(
                image, weights.draw(wider, channels, kernel, kernel, fan_in=fan_in), stride
            )

        image = ops.shrink(ops.relu(convolution(image, 3, wide, 7, 2)))
        channels = wide
        for stage, count in enumerate(blocks):
            inner = wide << stage
            for block in range(count):
                stride = 2 if stage and not block else 1
                around = image
                if not block:
                    around = convolution(image, channels, 4 * inner, 1, stride)
                image = ops.relu(convolution(image, channels, inner, 1, 1))
                image = ops.relu(convolution(image, inner, inner, 3, stride))
                image = ops.relu(ops.mean(convolution(image, inner, 4 * inner, 1, 1), around))
                channels = 4 * inner
        return ops.dense(ops.average(image), weights.draw(channels, 100 if quick else 1000, fan_in=channels))

    reads, writes = (3, side, side), 100 if quick else 1000
    return Network(name="resnet50", build=build, reads=reads, writes=writes, most_rows=4 if quick else 128)


def bert_base(*, quick: bool) -> Network:
    """BERT-base's encoder: 12 layers, 768 wide, 12 heads, over 128 tokens; the first token's features out."""
    layers, width, heads, words, length = (2, 32, 4, 100, 16) if quick else (12, 768, 12, 30_522, 128)

    def build(ops: Operators, weights: Weights, tokens: Tensor) -> Tensor:
        def dense(rows: Tensor, narrow: int, wide: int) -> Tensor:
            return ops.dense(rows, weights.draw(narrow, wide, fan_in=2 * narrow))

        rows = ops.normal(ops.table(tokens, weights.draw(words, width, fan_in=2)), width)
        for _ in range(layers):
            query, key, value = (dense(rows, width, width) for _ in range(3))
            seen = dense(ops.attention(query, key, value, heads, width), width, width)
            rows = ops.normal(ops.add(rows, seen), width)
            inner = ops.gelu(dense(rows, width, 4 * width))
            rows = ops.normal(ops.add(rows, dense(inner, 4 * width, width)), width)
        return ops.first(rows)

    return Network(
        name="bert_base",
        build=build,
        reads=(length,),
        writes=width,
        most_rows=4 if quick else 128,
        datatype="int64",
        highest=words,
    )


def tiny(*, quick: bool) -> Network:
    """The perceptron of `make bench`: there, launching is all that a run costs."""

    def build(ops: Operators, weights: Weights, rows: Tensor) -> Tensor:
        for narrow, wide in ((64, 256), (256, 256)):
            rows = ops.relu(ops.dense(rows, weights.draw(narrow, wide, fan_in=narrow)))
        return ops.dense(rows, weights.draw(256, 10, fan_in=256))

    return Network(name="tiny", build=build, reads=(64,), writes=10, most_rows=32 if quick else 1024)


NETWORKS: dict[str, Callable[..., Network]] = {"resnet50": resnet50, "bert_base": bert_base, "tiny": tiny}
