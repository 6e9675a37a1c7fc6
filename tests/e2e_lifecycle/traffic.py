"""Clients that ask without pause, over HTTP and gRPC, and keep what came of every request."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple

import httpx
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.e2e_lifecycle.ledger import PAGES
from tests.server_process import Server

PACE_S = 0.002
"""Between an answer and the next question of one client: the machine is to have time for the server."""

PATIENCE_S = 20.0


class Outcome(NamedTuple):
    """One request: when it was sent and ended (monotonic), and what is wrong with what came, or nothing.

    refused   it was turned away in words or at the connection, and no answer was begun
    """

    door: str
    began: float
    ended: float
    fault: str
    refused: bool = False


Right = Callable[[str, int, float], bool]
"""Whether version, page and entry of an answer belong together."""


class Traffic:
    """What has come of the requests so far. `expect` is called before each and judges its answer."""

    def __init__(self, server: Server, model: str, expect: Callable[[], Right]) -> None:
        self.outcomes: list[Outcome] = []
        self._server = server
        self._model = model
        self._expect = expect
        self._stop = threading.Event()

    @property
    def faults(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.fault]

    def stop(self) -> None:
        self._stop.set()

    def ask_over_http(self) -> None:
        with httpx.Client(base_url=f"http://{self._server.http}", timeout=PATIENCE_S) as client:

            def ask(at: int) -> tuple[str, float]:
                tensor = {"name": "at", "shape": [1, 1], "datatype": "INT64", "data": [at]}
                response = client.post(f"/v2/models/{self._model}/infer", json={"inputs": [tensor]})
                response.raise_for_status()
                answer = response.json()
                return answer["model_version"], answer["outputs"][0]["data"][0]

            self._go_on("http", ask)

    def ask_over_grpc(self) -> None:
        with triton.InferenceServerClient(self._server.grpc) as client:
            tensor = triton.InferInput("at", [1, 1], "INT64")

            def ask(at: int) -> tuple[str, float]:
                tensor.set_data_from_numpy(np.array([[at]]))
                answer = client.infer(self._model, [tensor], client_timeout=PATIENCE_S)
                return answer.get_response().model_version, answer.as_numpy("y").item()

            self._go_on("grpc", ask)

    def _go_on(self, door: str, ask: Callable[[int], tuple[str, float]]) -> None:
        while not self._stop.wait(PACE_S):
            at = random.randrange(PAGES)
            right, began = self._expect(), monotonic()
            fault, refused = "", False
            try:
                version, entry = ask(at)
                if not right(version, at, entry):
                    fault = f"version {version} says {entry} of page {at}"
            except httpx.HTTPStatusError as error:
                fault, refused = error.response.text, error.response.status_code == 503
            except InferenceServerException as error:
                fault, refused = str(error), error.status() == "StatusCode.UNAVAILABLE"
            except (
                httpx.ConnectError,
                httpx.ReadError,
                httpx.WriteError,
                httpx.RemoteProtocolError,
            ) as error:
                fault, refused = repr(error), True
            except Exception as error:
                fault = repr(error)
            self.outcomes.append(Outcome(door, began, monotonic(), fault, refused))


@contextmanager
def traffic(server: Server, model: str, expect: Callable[[], Right]) -> Iterator[Traffic]:
    """Two clients over HTTP and two over gRPC, while the block lasts."""
    load = Traffic(server, model, expect)
    threads = [threading.Thread(target=ask) for ask in (load.ask_over_http, load.ask_over_grpc) * 2]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
