"""The server's side of a nursery: starts it when it is needed, and hands it jobs."""

import asyncio
import io
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from server.lifecycle.ending import Limits
from server.lifecycle.nursery import HEAD
from server.lifecycle.preparation import PreparationJob
from server.lifecycle.trial import Job

PATIENCE_S = 30.0
"""For a nursery to take a job: it may have to import torch first."""


Nursery = subprocess.Popen[bytes]
T = TypeVar("T")


class NurseryHandle:
    """The server's side of one nursery: started when it is needed, and again when it has gone."""

    def __init__(self, limits: Limits, platform: str) -> None:
        self._limits = limits
        self._platform = platform
        self._process: Nursery | None = None
        self._control: socket.socket | None = None
        self._lock = asyncio.Lock()
        self._closed = False

    async def begin(self, job: Job | PreparationJob) -> tuple[socket.socket, Nursery]:
        """Hand it a job: the socket on which its answers come, the caller's to close, and who has the job.

        Raises `OSError` if it does not take it; then that nursery has been ended.
        """
        pickled = _pickled(job)
        ours, theirs = socket.socketpair()
        try:
            return ours, await self._alone(partial(self._hand_over, theirs, pickled), theirs.close)
        except BaseException:
            ours.close()
            raise

    async def end(self, lost: Nursery) -> None:
        """This one is gone or silent: end it, and the next job starts another. Whoever else has lost it
        may have ended it already; its successor is left alone."""
        await self._alone(partial(self._end_if, lost), lambda: None)

    def close(self) -> None:
        """It sees its control socket end, kills what it has under way, and goes. None is started any more."""
        self._closed = True
        self._hang_up()

    def _hang_up(self) -> None:
        if self._control is not None:
            with suppress(OSError):  # it has gone already
                self._control.shutdown(socket.SHUT_RDWR)  # wakes the thread that is handing over
            self._control.close()

    async def _alone(self, work: Callable[[], T], afterwards: Callable[[], None]) -> T:
        """In a thread, one at a time. A caller who leaves lets nobody in before the thread is done."""
        try:
            await self._lock.acquire()
        except BaseException:
            afterwards()
            raise
        working = asyncio.get_running_loop().run_in_executor(None, work)

        def done(working: "asyncio.Future[T]") -> None:
            afterwards()
            self._lock.release()
            if not working.cancelled():
                working.exception()  # a caller who left does not ask

        working.add_done_callback(done)
        return await asyncio.shield(working)

    def _hand_over(self, theirs: socket.socket, job: bytes) -> Nursery:
        if self._process is not None and self._process.poll() is not None:
            self._end()
        process = self._process or self._start()
        assert self._control is not None
        try:
            if self._closed:  # while the process was started, perhaps
                raise OSError("no more trials")
            socket.send_fds(self._control, [HEAD.pack(len(job))], [theirs.fileno()])
            self._control.sendall(job)
        except OSError:
            self._end()
            raise
        return process

    def _end_if(self, lost: Nursery) -> None:
        if self._process is lost:
            self._end()

    def _end(self) -> None:
        self._hang_up()
        if self._process is not None:
            try:
                self._process.wait(1.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control = self._process = None

    def _start(self) -> Nursery:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = process = subprocess.Popen(
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
        return process


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


def _pickled(job: Job | PreparationJob) -> bytes:
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
