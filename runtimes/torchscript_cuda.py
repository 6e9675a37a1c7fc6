"""TorchScript models on a CUDA device: a stream for each thread that runs, and pinned memory on the host.

The instances of a model are threads over one module: each has a stream of its own, so the copies of one go on
beside the work of another. A run is handed to the device whole (inputs, module, outputs) and waited for
once, without Python's lock.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from runtimes.host_buffers import Buffers
from runtimes.tensors import Array, Tensors
from runtimes.torchscript_tensors import array_of, checked, tensor_of


class Lane:
    """Runs on one device, torch's; on the processor the same is done without streams, for tests."""

    def __init__(self, torch: Any, device: Any, buffers: Buffers) -> None:
        self._torch = torch
        self._device = device
        self._buffers = buffers
        self._own = threading.local()
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # weights were copied on another stream than those of the runs

    def run(
        self, inputs: Tensors, module: Callable[[Mapping[str, Any]], Any]
    ) -> tuple[Array, ...] | dict[str, Array]:
        """What the module returns, in buffers of its own. Inputs may be read-only, and stay as they are."""
        stream = self._stream()
        staged = {name: self._staged(array) for name, array in inputs.items()}
        if stream is None:
            return self._answer(module(self._sent(staged)))
        try:
            with self._torch.cuda.stream(stream):
                return self._answer(module(self._sent(staged)))
        finally:
            stream.synchronize()  # also of a run that failed: until then the device reads what is staged

    def close(self) -> None:
        """Once nothing holds the module: what its tensors took goes back to the device."""
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()
        self._buffers.give_back()

    def _staged(self, array: Array) -> Array:
        staged = self._buffers.array(array.shape, array.dtype)
        np.copyto(staged, array)
        return staged

    def _sent(self, staged: Tensors) -> dict[str, Any]:
        """On their way: the bytes are to stay until the stream is done."""
        return {
            name: tensor_of(self._torch, array).to(self._device, non_blocking=True)
            for name, array in staged.items()
        }

    def _answer(self, returned: Any) -> tuple[Array, ...] | dict[str, Array]:
        if isinstance(returned, dict):
            return {name: self._fetched(tensor) for name, tensor in returned.items()}
        if isinstance(returned, self._torch.Tensor):
            return (self._fetched(returned),)
        return tuple([self._fetched(tensor) for tensor in returned])

    def _fetched(self, tensor: Any) -> Array:
        """The bytes are there once the stream is."""
        tensor = checked(self._torch, tensor)
        like = self._torch.empty((), dtype=tensor.dtype)
        into = self._buffers.array(tuple(tensor.shape), array_of(self._torch, like).dtype)
        tensor_of(self._torch, into).copy_(tensor, non_blocking=True)
        return into

    def _stream(self) -> Any:
        if self._device.type != "cuda":
            return None
        stream = getattr(self._own, "stream", None)
        if stream is None:
            stream = self._own.stream = self._torch.cuda.Stream(self._device)
        return stream
