"""NumPy arrays as torch tensors over the same bytes, and back. BF16 is a dtype of its own on both sides."""

from typing import Any

import ml_dtypes
import numpy as np

from runtimes.errors import RunFailed
from runtimes.tensors import Array


def tensor_of(torch: Any, array: Array) -> Any:
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def array_of(torch: Any, tensor: Any) -> Array:
    """Of a contiguous tensor on the host."""
    array: Array
    if tensor.dtype is torch.bfloat16:
        array = tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    else:
        array = tensor.numpy()
    return array


def checked(torch: Any, tensor: Any) -> Any:
    """Raises `RunFailed` for what is no tensor."""
    if not isinstance(tensor, torch.Tensor):
        raise RunFailed(f"the model returned a {type(tensor).__name__} where a tensor was expected")
    return tensor
