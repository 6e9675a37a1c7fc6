"""Models whose own code waits until a test lets it go on, and clients that ask them."""

import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import tritonclient.grpc as triton

from tests.server_process import Server

SETUP, PREPROCESS = "setup(context)", "preprocess(inputs)"

CODE = """
import pathlib, time

def {function}:
    with pathlib.Path({began!r}).open("a") as diary:
        diary.write("x")
    while not pathlib.Path({gate!r}).exists():
        time.sleep(0.005)
    return {returned}
"""


class Gate:
    """What holds a model's code, and counts how often it came to the gate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._began, self._gate = folder / "began", folder / "gate"

    @property
    def begun(self) -> int:
        return len(self._began.read_text()) if self._began.exists() else 0

    def open(self) -> None:
        self._gate.touch()

    def pre(self, function: str) -> str:
        """A pre.py that is held in `SETUP`, as it is loaded, or in `PREPROCESS`, at each request."""
        code = CODE.format(
            function=function,
            began=str(self._began),
            gate=str(self._gate),
            returned="inputs" if function == PREPROCESS else "None",
        )
        return code if function == PREPROCESS else f"{code}\ndef {PREPROCESS}: return inputs\n"


class Asking:
    """One request in a thread of its own, and what comes of it."""

    def __init__(self, ask: Callable[[], float]) -> None:
        self.came: float | Exception | None = None
        self._thread = threading.Thread(target=self._keep, args=(ask,))
        self._thread.start()

    def _keep(self, ask: Callable[[], float]) -> None:
        try:
            self.came = ask()
        except Exception as error:
            self.came = error

    def result(self, within_s: float = 20.0) -> float | Exception | None:
        """The answer, or what was raised instead; None if nothing came in time."""
        self._thread.join(within_s)
        return self.came


def over_http(server: Server, model: str, width: int = 2) -> Asking:
    """Ask y = x + amount for so many 0 over a connection of its own; the amount, if it comes everywhere."""

    def ask() -> float:
        tensor = {"name": "x", "shape": [1, width], "datatype": "FP32", "data": [0] * width}
        response = httpx.post(
            f"http://{server.http}/v2/models/{model}/infer", json={"inputs": [tensor]}, timeout=30
        )
        response.raise_for_status()
        return one_of(response.json()["outputs"][0]["data"])

    return Asking(ask)


def over_grpc(server: Server, model: str, width: int = 2) -> Asking:
    """The same over a channel of its own."""

    def ask() -> float:
        with triton.InferenceServerClient(server.grpc) as client:
            tensor = triton.InferInput("x", [1, width], "FP32")
            tensor.set_data_from_numpy(np.zeros((1, width), np.float32))
            return one_of(client.infer(model, [tensor], client_timeout=30).as_numpy("y")[0].tolist())

    return Asking(ask)


def one_of(values: list[float]) -> float:
    """What all of them are. Raises `ValueError` if they differ."""
    (value,) = set(values)
    return value
