"""A network in torch, with the weights that its graph has."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from benchmarks.gpu.graphs import SEED
from benchmarks.gpu.networks import Network, Weights


def twin(network: Network, dtype: str, device: str, rows: int) -> Any:
    """Traced and frozen, in inference mode: what torch does best without compiling for the one machine."""
    ops = _Eager(getattr(torch, dtype), device)
    network.build(ops, Weights(SEED), ops.tensor(network.row(1, dtype)))

    def forward(read: Any) -> Any:
        ops.again()
        return network.build(ops, _Forgotten(), read)

    module = _Module(forward).eval()
    traced = torch.jit.trace(module, ops.tensor(network.row(rows, dtype)), check_trace=False)
    return torch.jit.freeze(traced.eval())


class _Module(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, run: Any) -> None:
        super().__init__()
        self._run = run

    def forward(self, read: Any) -> Any:
        return self._run(read)


class _Forgotten(Weights):
    """The second time they are at hand already."""

    def __init__(self) -> None:
        super().__init__(0)

    def draw(self, *shape: int, fan_in: int) -> NDArray[np.float32]:
        return np.empty((0,), np.float32)


class _Eager:
    """`Operators` done at once. The first pass puts the weights on the device, others take them in turn."""

    def __init__(self, dtype: Any, device: str) -> None:
        self._dtype = dtype
        self._device = device
        self._kept: list[Any] = []
        self._turn: Iterator[Any] | None = None

    def again(self) -> None:
        self._turn = iter(self._kept)

    def tensor(self, array: NDArray[Any]) -> Any:
        return torch.from_numpy(array).to(self._device)

    def convolution(self, image: Any, weights: NDArray[np.float32], stride: int) -> Any:
        kernel = self._weights(weights)
        return functional.conv2d(image, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def dense(self, rows: Any, weights: NDArray[np.float32]) -> Any:
        return rows @ self._weights(weights)

    def table(self, numbers: Any, weights: NDArray[np.float32]) -> Any:
        return functional.embedding(numbers, self._weights(weights))

    def relu(self, rows: Any) -> Any:
        return functional.relu(rows)

    def gelu(self, rows: Any) -> Any:
        return functional.gelu(rows)

    def mean(self, one: Any, other: Any) -> Any:
        return (one + other) * 0.5

    def add(self, one: Any, other: Any) -> Any:
        return one + other

    def shrink(self, image: Any) -> Any:
        return functional.max_pool2d(image, 3, 2, 1)

    def average(self, image: Any) -> Any:
        return image.mean((2, 3))

    def normal(self, rows: Any, width: int) -> Any:
        return functional.layer_norm(rows, (width,))

    def attention(self, query: Any, key: Any, value: Any, heads: int, width: int) -> Any:
        parts = (each.unflatten(-1, (heads, width // heads)).transpose(1, 2) for each in (query, key, value))
        return functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)

    def first(self, rows: Any) -> Any:
        return rows[:, 0]

    def _weights(self, weights: NDArray[np.float32]) -> Any:
        if self._turn is not None:
            return next(self._turn)
        kept = torch.from_numpy(weights).to(self._device, self._dtype)
        self._kept.append(kept)
        return kept
