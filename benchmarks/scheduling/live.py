"""The models of the live parts, laid into a repository: one that only sleeps, and a convolutional network.

Each is one instance with one thread, so that a model is one server of a queue.
"""

import json
from pathlib import Path

import numpy as np
import onnx

from benchmarks import networks
from benchmarks.models import Tensors
from benchmarks.scheduling.sleeping import INPUT, OUTPUT, SleepingModel

IMAGE = (3, networks.CNN_PIXELS, networks.CNN_PIXELS)


def lay_sleeping(repository: Path, model: SleepingModel, *, units: float, settings: str) -> None:
    """A model of the simulator as a model of a server. `settings` are more lines of its configuration."""
    service = model.service
    said = {
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, 1]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, 1]}],
        "service_time": {
            "fixed_ms": service.fixed_ms,
            "per_row_ms": service.per_row_ms,
            "table_ms": dict(service.table_ms),
            "jitter": service.jitter,
            "seed": service.seed,
        },
        "units": units,
    }
    config = _config(model.max_batch_size, model.instances) + settings
    _lay(repository / model.name, config).joinpath("model.sleep").write_text(json.dumps(said))


def sleeping_row() -> Tensors:
    return {INPUT: np.zeros((1, 1), np.float32)}


def lay_cnn(repository: Path, name: str, *, max_batch_size: int, settings: str) -> None:
    version = _lay(repository / name, _config(max_batch_size, 1) + ONE_THREAD + settings)
    onnx.save(networks.cnn(), version / "model.onnx")


def cnn_row() -> Tensors:
    return {"INPUT": np.random.default_rng(0).standard_normal((1, *IMAGE), np.float32)}


def fixed(*, max_queue_delay_us: int, max_queue_size: int) -> str:
    """Triton's settings, as lines of a configuration."""
    return (
        f"dynamic_batching {{ max_queue_delay_microseconds: {max_queue_delay_us} "
        f"default_queue_policy {{ max_queue_size: {max_queue_size} }} }}\n"
    )


def target(seconds: float) -> str:
    """The latency target, as lines of a configuration."""
    ms = f"{seconds * 1e3:g}"
    return (
        "dynamic_batching { }\n"
        f'parameters {{ key: "latency_target_ms" value {{ string_value: "{ms}" }} }}\n'
    )


ONE_THREAD = 'parameters { key: "intra_op_thread_count" value { string_value: "1" } }\n'


def _config(max_batch_size: int, instances: int) -> str:
    return f"max_batch_size: {max_batch_size}\ninstance_group {{ kind: KIND_CPU count: {instances} }}\n"


def _lay(folder: Path, config: str) -> Path:
    """The version's folder, which wants its model file."""
    version = folder / "1"
    version.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    return version
