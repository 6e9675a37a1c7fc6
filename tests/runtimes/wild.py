"""A TorchScript model that takes its process down on some inputs, in native code."""

from pathlib import Path

import numpy as np
import torch

from runtimes.session import ModelFile
from runtimes.tensors import Array, TensorSpec
from tests.runtimes.models import script

GOOD, FATAL = 1.0, 1e14


class Wild(torch.nn.Module):
    """y = x; a first element far from the others is written to memory that nobody has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.flatten()[0] < 0):
            print("the first element is negative")
        place = x.flatten()[:1].to(torch.int64).abs().unsqueeze(0)
        wild = torch.ops.aten._sparse_coo_tensor_unsafe(
            place, x.flatten()[:1], [4], is_coalesced=True
        ).to_dense()
        return x + wild[0] * 0


def wild(folder: Path, **more: object) -> ModelFile:
    specs = {"inputs": (TensorSpec("x", "FP32", (-1, 4)),), "outputs": (TensorSpec("y", "FP32", (-1, 4)),)}
    return ModelFile(path=script(folder, Wild()), **(specs | more))


def rows(first: float, count: int = 1) -> dict[str, Array]:
    return {"x": np.full((count, 4), first, np.float32)}
