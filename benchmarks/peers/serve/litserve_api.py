"""LitServe: its batching loop in one worker process, requests handed over by ZeroMQ (`fast_queue`)."""

from typing import Any

import litserve
import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from benchmarks.peers.serve.session import Session, task

GATHER_S = 0.001


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.session = Session(task())

    def decode_request(self, request: Request) -> NDArray[np.float32]:
        body: Any = request  # annotated so, LitServe reads its JSON for us
        return np.array(body["rows"][0], np.float32)

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.session.run(rows)

    def encode_response(self, row: NDArray[np.float32]) -> Any:
        return [row.tolist()]


if __name__ == "__main__":
    asked = task()
    api = Api(max_batch_size=asked.max_batch_size, batch_timeout=GATHER_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=asked.http_port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
