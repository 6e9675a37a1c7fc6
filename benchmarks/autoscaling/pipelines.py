"""Pipelines of three stages of which one is the bottleneck, whose work is to sleep.

A stage that sleeps stands for one that computes on a machine of its own: so two cores hold the replicas that
would fill a cluster, and what a replica can do does not hang on how many there are beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.models import Tensors

MODEL = "pipeline"
STAGE_THREADS = 2
MAX_BATCH = 4
ROW: Tensors = {"INPUT": np.zeros((1, 4), np.float32)}

TENSOR = {"datatype": "FP32", "shape": [-1, 4]}

PRE = """\
import time

INPUTS = [{{"name": "INPUT", "datatype": "FP32", "shape": [-1, 4]}}]


def preprocess(inputs):
    time.sleep({seconds})
    return inputs
"""

POST = """\
import time

OUTPUTS = [{{"name": "OUTPUT", "datatype": "FP32", "shape": [-1, 4]}}]


def postprocess(outputs):
    time.sleep({seconds})
    return outputs
"""

CONFIG = f"""\
max_batch_size: {MAX_BATCH}
instance_group {{ kind: KIND_CPU count: 1 }}
dynamic_batching {{ }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """
    bottleneck           the tier that has the most to do
    pre_ms, post_ms      of each request, on one of `STAGE_THREADS` threads
    fixed_ms, per_row_ms of each run of the model, with up to `MAX_BATCH` requests
    """

    bottleneck: str
    pre_ms: float
    fixed_ms: float
    per_row_ms: float
    post_ms: float

    def rates(self) -> Mapping[str, float]:
        """Requests a second that one process of each tier can do."""
        full_ms = self.fixed_ms + MAX_BATCH * self.per_row_ms
        return {
            "pre": STAGE_THREADS * 1e3 / self.pre_ms,
            "predict": MAX_BATCH * 1e3 / full_ms,
            "post": STAGE_THREADS * 1e3 / self.post_ms,
        }

    def lay(self, repository: Path) -> None:
        version = repository / MODEL / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(CONFIG)
        (version / "pre.py").write_text(PRE.format(seconds=self.pre_ms / 1e3))
        (version / "post.py").write_text(POST.format(seconds=self.post_ms / 1e3))
        sleeping = {
            "inputs": [{"name": "INPUT", **TENSOR}],
            "outputs": [{"name": "OUTPUT", **TENSOR}],
            "service_time": {"fixed_ms": self.fixed_ms, "per_row_ms": self.per_row_ms},
        }
        (version / "model.sleep").write_text(json.dumps(sleeping))


PIPELINES: Mapping[str, Pipeline] = {
    "pre": Pipeline(bottleneck="pre", pre_ms=125, fixed_ms=5, per_row_ms=5, post_ms=5),
    "predict": Pipeline(bottleneck="predict", pre_ms=5, fixed_ms=25, per_row_ms=50, post_ms=5),
}
