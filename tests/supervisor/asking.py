"""Clients of every kind that ask a fleet without pause, and what came of it.

The model is y = x + 1. A kind keeps its connection, or makes one for each request.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import random

import httpx
import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http

PACE_S = 0.01
PATIENCE_S = 20.0
BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
OWN_CHANNEL = [("grpc.use_local_subchannel_pool", 1)]


class Clients:
    """`answered` counts good answers by kind; `failed` has what the others said, by kind."""

    def __init__(self, http: str, grpc: str) -> None:
        self.answered: Counter[str] = Counter()
        self.failed: dict[str, list[str]] = defaultdict(list)
        self._http = http
        self._grpc = grpc
        self._over = threading.Event()

    def stop(self) -> None:
        self._over.set()

    def http_kept(self) -> None:
        with httpx.Client(base_url=f"http://{self._http}", timeout=PATIENCE_S) as client:
            self._go_on("HTTP kept", lambda: _right(client.post("/v2/models/plus/infer", json=BODY)))

    def http_kept_the_long_way(self) -> None:
        with httpx.Client(base_url=f"http://{self._http}", timeout=PATIENCE_S) as client:
            self._go_on("HTTP kept, metadata", lambda: client.get("/v2/models/plus").status_code == 200)

    def http_new(self) -> None:
        url = f"http://{self._http}/v2/models/plus/infer"
        self._go_on("HTTP new", lambda: _right(httpx.post(url, json=BODY, timeout=PATIENCE_S)))

    def triton_http_kept(self) -> None:
        tensor = over_http.InferInput("x", [1, 2], "FP32").set_data_from_numpy(NUMBERS)
        with over_http.InferenceServerClient(self._http, network_timeout=PATIENCE_S) as client:
            self._go_on("Triton HTTP kept", lambda: _plus_one(client.infer("plus", [tensor])))

    def grpc_kept(self) -> None:
        tensor = over_grpc.InferInput("x", [1, 2], "FP32").set_data_from_numpy(NUMBERS)
        with over_grpc.InferenceServerClient(self._grpc, channel_args=OWN_CHANNEL) as client:
            self._go_on(
                "gRPC kept", lambda: _plus_one(client.infer("plus", [tensor], client_timeout=PATIENCE_S))
            )

    def grpc_new(self) -> None:
        tensor = over_grpc.InferInput("x", [1, 2], "FP32").set_data_from_numpy(NUMBERS)

        def ask() -> bool:
            with over_grpc.InferenceServerClient(self._grpc, channel_args=OWN_CHANNEL) as client:
                return _plus_one(client.infer("plus", [tensor], client_timeout=PATIENCE_S))

        self._go_on("gRPC new", ask)

    def _go_on(self, kind: str, ask: Callable[[], bool]) -> None:
        while not self._over.wait(random() * PACE_S):
            try:
                if ask():
                    self.answered[kind] += 1
                else:
                    self.failed[kind].append("a wrong answer")
            except Exception as error:
                self.failed[kind].append(f"{error!r} {error}")


NUMBERS = np.array([[1, 2]], dtype=np.float32)


def _plus_one(answer: over_grpc.InferResult | over_http.InferResult) -> bool:
    return bool((answer.as_numpy("y") == NUMBERS + 1).all())


def _right(response: httpx.Response) -> bool:
    response.raise_for_status()
    return response.json()["outputs"][0]["data"] == [2, 3]


@contextmanager
def clients(http: str, grpc: str) -> Iterator[Clients]:
    """One of each kind, while the block lasts."""
    asking = Clients(http, grpc)
    kinds = (
        asking.http_kept,
        asking.http_kept_the_long_way,
        asking.http_new,
        asking.triton_http_kept,
        asking.grpc_kept,
        asking.grpc_new,
    )
    threads = [threading.Thread(target=kind) for kind in kinds]
    for thread in threads:
        thread.start()
    try:
        yield asking
    finally:
        asking.stop()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
