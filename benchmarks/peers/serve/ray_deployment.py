"""Ray Serve: one replica behind its proxy, with `serve.batch`; over gRPC by the protocol's own servicer."""

import signal
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import serve
from ray.serve.config import HTTPOptions
from starlette.requests import Request

from benchmarks.peers.serve.session import Session, Task, task

GATHER_S = 0.001
IN_FLIGHT = 1_000


class Model:
    def __init__(self, asked: Task) -> None:
        self.session = Session(asked)
        self.predict.set_max_batch_size(asked.max_batch_size)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=GATHER_S)
    async def predict(self, rows: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        return list(self.session.run(np.stack(rows)))

    async def __call__(self, request: Request) -> Any:
        body = await request.json()
        row = await self.predict(np.array(body["rows"][0], np.float32))
        return [row.tolist()]


if __name__ == "__main__":
    asked = task()
    ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=asked.http_port))
    deployment = serve.deployment(num_replicas=1, max_ongoing_requests=IN_FLIGHT)(Model)
    serve.run(deployment.bind(asked), route_prefix="/predict")
    signal.pause()
