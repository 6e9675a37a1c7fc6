"""The server's side of a nursery: starts it when it is needed, and hands it jobs."""

import asyncio
import io
import os
import pickle
import socket
import subprocess
import sys
from types import MappingProxyType
from typing import Any

from server.lifecycle.ending import Limits
from server.lifecycle.nursery import HEAD
from server.lifecycle.trial import Job

PATIENCE_S = 30.0
"""For a nursery to take a job: it may have to import torch first."""


class NurseryHandle:
    """The server's side of one nursery: started when it is needed, and again when it has gone."""

    def __init__(self, limits: Limits, platform: str) -> None:
        self._limits = limits
        self._platform = platform
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lock = asyncio.Lock()

    async def begin(self, job: Job) -> socket.socket:
        """Hand it a job; the socket on which its answers come is the caller's to close."""
        ours, theirs = socket.socketpair()
        try:
            async with self._lock:
                await asyncio.to_thread(self._hand_over, theirs, _pickled(job))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def close(self) -> None:
        """It sees its control socket end, kills what it has under way, and goes."""
        if self._control is not None:
            self._control.close()

    def end(self) -> None:
        """The same, and wait for it; the next job starts another."""
        self.close()
        if self._process is not None:
            try:
                self._process.wait(1.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control = self._process = None

    def _hand_over(self, theirs: socket.socket, job: bytes) -> None:
        if self._process is not None and self._process.poll() is not None:
            self.end()
        if self._control is None:
            self._start()
        assert self._control is not None
        socket.send_fds(self._control, [HEAD.pack(len(job))], [theirs.fileno()])
        self._control.sendall(job)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "server.lifecycle.nursery", str(theirs.fileno())),
                    *(str(self._limits.timeout_s), str(self._limits.memory_bytes), self._platform),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C is the server's to answer
                env=_environment(),
            )
        ours.settimeout(PATIENCE_S)
        self._control = ours


def _environment() -> dict[str, str]:
    """Ours, but on the CPU, with one thread for matrices, and with the same places to import from."""
    places = [os.getcwd() if place == "" else place for place in sys.path]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(places),
        "CUDA_VISIBLE_DEVICES": "",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _pickled(job: Job) -> bytes:
    kept = io.BytesIO()
    _Pickler(kept).dump(job)
    return kept.getvalue()


class _Pickler(pickle.Pickler):
    """An offer's mappings are read-only views, which pickle does not know."""

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, MappingProxyType):
            return _viewed, (dict(thing),)
        return NotImplemented


def _viewed(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)
