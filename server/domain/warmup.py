"""What a version runs before it is ready: Triton's `model_warmup`, as frozen values."""

from dataclasses import dataclass
from enum import StrEnum

FOLDER = "warmup"
"""Beneath the model's own folder, where the files of inputs lie."""


class WarmupData(StrEnum):
    """Where the elements of an input come from, by Triton's names."""

    ZERO = "zero_data"
    RANDOM = "random_data"
    FILE = "input_data_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupInput:
    """One input. `dims` are of one row, without the batch dimension; `file` lies in the folder `warmup`."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    data: WarmupData
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """One sample: so many equal rows, run `count` times. Of `batch_size` 0 it is left out, as in Triton."""

    name: str
    batch_size: int
    count: int
    inputs: tuple[WarmupInput, ...]
