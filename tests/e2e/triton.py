"""tritonclient's clients, blocking and asyncio, called alike."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import numpy as np

Ask = Callable[..., Awaitable[Any]]
"""Calls a method of a client by its name."""

INFERENCE_STATS = {
    *("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"),
    *("cache_hit", "cache_miss"),
}

SAMPLES_SERVED = [
    *(("diabetes", "1"), ("digits", "1"), ("digits", "2"), ("digits_onnx", "1"), ("iris", "1")),
]

_DATATYPES = {"float32": "FP32", "int64": "INT64", "object": "BYTES"}


@asynccontextmanager
async def asking(protocol: ModuleType, address: str) -> AsyncIterator[Ask]:
    """`protocol` is one of tritonclient's four modules."""
    client = protocol.InferenceServerClient(address)

    async def ask(method: str, *arguments: Any, **options: Any) -> Any:
        answer = getattr(client, method)(*arguments, **options)
        return await answer if inspect.isawaitable(answer) else answer

    try:
        yield ask
    finally:
        await ask("close")


def tensors(protocol: ModuleType, inputs: dict[str, np.ndarray], **how: bool) -> list[Any]:
    """The inputs as that protocol's client takes them."""
    made = []
    for name, array in inputs.items():
        tensor = protocol.InferInput(name, array.shape, _DATATYPES[array.dtype.name])
        tensor.set_data_from_numpy(array, **how)
        made.append(tensor)
    return made
