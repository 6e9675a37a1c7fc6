"""What runs in a worker process: sessions, and a thread for each lane that asks for runs.

It ends when the server's side of the control socket does. Inputs are views of the slab, mapped for reading
alone; outputs are copied into the room that the server has set aside for them.
"""

import os
import socket
import threading
from typing import Any, NoReturn

import numpy as np

from runtimes.errors import ModelBroken, RunFailed, RuntimeFault
from runtimes.memory import trim
from runtimes.opening import open_session
from runtimes.packing import Packed, unpacked
from runtimes.session import Session
from runtimes.slab import map_to_read, map_to_write
from runtimes.worker.lane import KINDS, Lane, LaneLost
from runtimes.worker.telling import description_told, file_of

NEW_LANE = b"+"
"""On the control socket, with the lane's descriptor."""


def serve(control: socket.socket, slab: int) -> NoReturn:
    """Until the other end of `control` is closed. Never returns, and runs nothing that waits for an exit."""
    np.seterr(over="ignore", invalid="ignore")
    models = _Models(slab)
    while True:
        said, descriptors, _, _ = socket.recv_fds(control, len(NEW_LANE), 1)
        if not said or not descriptors:
            os._exit(0)
        lane = Lane(socket.socket(fileno=descriptors[0]))
        threading.Thread(target=models.answer, args=(lane,), name="lane", daemon=True).start()


class _Models:
    """The sessions, by the numbers that the server gave them."""

    def __init__(self, slab: int) -> None:
        self._read, self._write = map_to_read(slab), map_to_write(slab)
        self._sessions: dict[int, Session] = {}

    def answer(self, lane: Lane) -> None:
        """Serve one lane until the other side has gone. A failure is an answer."""
        unsent = Packed.of({})
        while (asked := lane.hear()) is not None:
            try:
                if asked["do"] == "run":
                    unsent = self._run(asked)
                    answer = self._sent(unsent, asked["room"])
                elif asked["do"] == "put":
                    answer = self._sent(unsent, asked["room"])
                elif asked["do"] == "open":
                    answer = self._open(asked)
                else:
                    answer = self._close(asked["model"])
            except RuntimeFault as fault:
                kind = type(fault).__name__
                answer = {"failed": kind if kind in KINDS else "RunFailed", "why": _clean(str(fault))}
            except Exception as error:  # a fault of ours, or memory that could not be had
                blamed = ModelBroken if asked["do"] == "open" else RunFailed
                answer = {"failed": blamed.__name__, "why": _clean(f"{type(error).__name__}: {error}")}
            if "short" not in answer:
                unsent = Packed.of({})
            try:
                lane.tell(answer)
            except LaneLost:
                break
        lane.close()

    def _open(self, asked: dict[str, Any]) -> dict[str, Any]:
        samples = asked["samples"]
        start, size = asked["from"]
        if samples is not None:
            samples = {
                name: array.copy()
                for name, array in unpacked(samples, self._read[start : start + size]).items()
            }
        session = open_session(file_of(asked["file"], samples))
        self._sessions[asked["model"]] = session
        return {"description": description_told(session.description)}

    def _run(self, asked: dict[str, Any]) -> Packed:
        start, size = asked["from"]
        inputs = unpacked(asked["inputs"], self._read[start : start + size])
        return Packed.of(self._sessions[asked["model"]].run(inputs, asked["outputs"]))

    def _sent(self, results: Packed, room: list[int]) -> dict[str, Any]:
        start, size = room
        if results.size > size:
            return {"short": results.size}
        results.lay(self._write[start : start + size])
        return {"outputs": results.told}

    def _close(self, model: int) -> dict[str, Any]:
        session = self._sessions.pop(model, None)
        if session is not None:
            session.close()
            del session
            trim()
        return {}


def _clean(sentence: str) -> str:
    return sentence.encode("utf-8", "replace").decode()
