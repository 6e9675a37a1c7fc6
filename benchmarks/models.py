"""What is served while we measure: synthetic models made by script, and the sample repository's own.

A `Model` knows how to lay its folder into a repository in Triton's layout, which any server here can read,
and the one request that it is asked again and again: always one row, so a request is a row.
"""

import base64
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from tritonclient.utils import triton_to_np_dtype

from benchmarks import networks

SAMPLES = Path(__file__).resolve().parents[1] / "model_repository"

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """
    lay        writes the model's folder at this path
    row        the inputs of its request, each of shape (1, ...)
    clients    how many callers at once it is measured with, unless asked otherwise
    patience   its timed runs last so many times --seconds: a slow model needs more time to be counted
    abreast    whether it is all the work, so that the server takes turns with the bare session
    """

    name: str
    lay: Callable[[Path], None]
    row: Callable[[], Tensors]
    clients: tuple[int, ...]
    patience: int = 1
    abreast: bool = False


def lay(models: Sequence[Model], repository: Path) -> None:
    """Make `repository` hold these models and nothing else."""
    repository.mkdir()
    for model in models:
        model.lay(repository / model.name)


def version_folder(repository: Path, name: str) -> Path:
    """Where version 1 lies, the only one that is asked."""
    return repository / name / "1"


# Synthetic models

CONFIG = """\
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {max_batch_size}
input {{ name: "INPUT" data_type: TYPE_FP32 dims: {reads} }}
output {{ name: "OUTPUT" data_type: TYPE_FP32 dims: {writes} }}
instance_group {{ kind: KIND_CPU count: 1 }}
dynamic_batching {{ }}
parameters {{ key: "intra_op_thread_count" value {{ string_value: "1" }} }}
"""
"""One instance with one thread: the bare session has as much."""


def _synthetic(
    network: Callable[[], onnx.ModelProto],
    *,
    reads: tuple[int, ...],
    max_batch_size: int,
    clients: tuple[int, ...],
    patience: int = 1,
    abreast: bool = False,
) -> Model:
    name = network.__name__

    def lay(folder: Path) -> None:
        model = network()
        version = folder / "1"
        version.mkdir(parents=True)
        onnx.save(model, version / "model.onnx")
        writes = [size.dim_value for size in model.graph.output[0].type.tensor_type.shape.dim[1:]]
        config = CONFIG.format(name=name, max_batch_size=max_batch_size, reads=list(reads), writes=writes)
        (folder / "config.pbtxt").write_text(config, encoding="utf-8")

    def row() -> Tensors:
        return {"INPUT": np.random.default_rng(0).standard_normal((1, *reads), np.float32)}

    return Model(name=name, lay=lay, row=row, clients=clients, patience=patience, abreast=abreast)


# The sample repository's models


def _sample(name: str, *, clients: tuple[int, ...] = (1, 8, 64)) -> Model:
    def lay(folder: Path) -> None:
        shutil.copytree(SAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__"))

    def row() -> Tensors:
        example = min((SAMPLES / name / "1" / "examples").glob("*.json"))
        inputs = json.loads(example.read_text(encoding="utf-8"))["request"]["inputs"]
        return {tensor["name"]: _array(tensor)[:1] for tensor in inputs}

    return Model(name=name, lay=lay, row=row, clients=clients)


def _array(tensor: Mapping[str, Any]) -> NDArray[Any]:
    """A tensor of an example as an array; bytes are written there as {"b64": ...}."""
    data = tensor["data"]
    if tensor["datatype"] == "BYTES":
        data = [base64.b64decode(each["b64"]) if isinstance(each, dict) else each.encode() for each in data]
    return np.array(data, triton_to_np_dtype(tensor["datatype"])).reshape(tensor["shape"])


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        _synthetic(networks.tiny, reads=(64,), max_batch_size=32, clients=(1, 8, 32, 64)),
        _synthetic(
            networks.large, reads=(3, 224, 224), max_batch_size=8, clients=(1, 8), patience=4, abreast=True
        ),
        _synthetic(networks.wide, reads=(networks.WIDE_FLOATS,), max_batch_size=8, clients=(1, 8)),
        _sample("iris"),
        _sample("diabetes"),
        _sample("digits_onnx"),
    )
}
