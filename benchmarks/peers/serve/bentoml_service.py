"""BentoML: a batchable API of a service with one worker."""

import os
import sys

import bentoml
import numpy as np

from benchmarks.peers.serve.session import Session, task

ASKED = task()
LATENCY_MS = 60_000
"""Its default: whom its batcher expects to wait longer is refused with 503, and nobody is to be."""


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Service:
    def __init__(self) -> None:
        self.session = Session(ASKED)

    @bentoml.api(
        route="/predict", batchable=True, max_batch_size=ASKED.max_batch_size, max_latency_ms=LATENCY_MS
    )
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.session.run(np.asarray(rows, np.float32))


if __name__ == "__main__":
    words = ["-m", "bentoml", "serve", "benchmarks.peers.serve.bentoml_service:Service"]
    words += ["--host", "127.0.0.1", "--port", str(ASKED.http_port)]
    os.execv(sys.executable, [sys.executable, *words])
