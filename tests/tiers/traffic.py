"""Clients that ask one model again and again while something is done to its tiers."""

import threading
from types import TracebackType

import httpx

from tests.server_process import Server


class Traffic:
    """While it is entered, `clients` threads ask, one request after the other.

    answers    the first number of every answer
    refusals   status and text of what was not answered, in order
    """

    def __init__(self, server: Server, model: str, clients: int = 2) -> None:
        self._url = f"http://{server.http}/v2/models/{model}/infer"
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        self.answers: set[int] = set()
        self.refusals: list[tuple[int, str]] = []

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}
        with httpx.Client(timeout=30) as client:
            while not self._over.wait(0.005):
                answer = client.post(self._url, json={"inputs": [x]})
                if answer.status_code == 200:
                    self.answers.add(round(answer.json()["outputs"][0]["data"][0]))
                else:
                    self.refusals.append((answer.status_code, answer.text))
