"""The server's side of the nurseries: has worker processes started, and hears how they end."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from selectors import EVENT_READ, DefaultSelector

from runtimes.signals import in_words
from runtimes.worker.lane import LaneLost
from runtimes.worker.nursery import DESCRIPTORS, NEW_WORKER
from runtimes.worker.process import NEW_LANE

PATIENCE_S = 30.0
"""For a nursery to take an order: it may have to import torch first."""

LINE_BYTES = 4096
"""Of one line that a worker prints; what is longer is cut into several."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a worker process ended: the sentence is the rest of "its worker process ..."."""

    why: str
    is_crash: bool


class Process:
    """One worker process, as its owner holds it."""

    def __init__(self, control: socket.socket, report: socket.socket, output: int) -> None:
        self._control = control
        self._report = report
        self._output = output
        self.pid: int | None = None
        """As soon as the nursery has told it."""

    def lane(self) -> socket.socket:
        """A new line to a thread of its own there. Raises `LaneLost` where it has gone."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [NEW_LANE], [theirs.fileno()])
            except OSError:
                ours.close()
                raise LaneLost from None
        return ours

    def leave(self) -> None:
        """Let it end by itself: nothing runs there, and nobody asks any more."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)

    def kill(self) -> None:
        with suppress(OSError):
            self._report.shutdown(socket.SHUT_WR)

    def ending(self, heard: Callable[[str], None]) -> Ended:
        """Wait until it is gone; `heard` is told each line that it prints. Closes all that leads to it."""
        said = report = b""
        with DefaultSelector() as selector:
            selector.register(self._output, EVENT_READ)
            selector.register(self._report, EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    if key.fd == self._output:
                        part = os.read(self._output, LINE_BYTES)
                        *lines, said = (said + part).split(b"\n")
                        if len(said) >= LINE_BYTES or not part:
                            lines, said = [*lines, said], b""
                        for line in lines:
                            if line.strip():
                                heard(line.decode(errors="replace"))
                    else:
                        part = _received(self._report)
                        report += part
                        if self.pid is None and b"\n" in report:
                            first, _, report = report.partition(b"\n")
                            self.pid = json.loads(first)["pid"]
                    if not part:
                        selector.unregister(key.fileobj)
        self._control.close()
        self._report.close()
        os.close(self._output)
        return _ended(report)


class Nursery:
    """One nursery process: started when it is needed, and again when it has gone."""

    def __init__(self, platform: str) -> None:
        self._platform = platform
        self._changing = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self, slab: int) -> Process:
        """A new worker process that shares this slab. Blocks; raises `OSError` if none can be had."""
        with self._changing:
            if self._process is not None and self._process.poll() is not None:
                self._hang_up()
            try:
                return self._start(slab)
            except (BrokenPipeError, ConnectionResetError):  # it was just going, idle
                self._hang_up()
                return self._start(slab)

    def close(self) -> None:
        """It kills its workers and goes."""
        with self._changing:
            self._hang_up()

    def _start(self, slab: int) -> Process:
        if self._process is None:
            self._open()
        assert self._control is not None
        with ExitStack() as ours, ExitStack() as its:
            control, its_control = _pair(ours, its)
            report, its_report = _pair(ours, its)
            output, its_output = os.pipe()
            ours.callback(os.close, output)
            its.callback(os.close, its_output)
            handed = [its_control.fileno(), slab, its_output, its_report.fileno()]
            assert len(handed) == DESCRIPTORS
            socket.send_fds(self._control, [NEW_WORKER], handed)
            ours.pop_all()
        return Process(control, report, output)

    def _hang_up(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(1.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control = self._process = None

    def _open(self) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE_S)
        with theirs:
            self._process = subprocess.Popen(
                [
                    # -u, as what a model prints is read, and a worker leaves without a last flush
                    *(sys.executable, "-P", "-u", "-m", "runtimes.worker.nursery", str(theirs.fileno())),
                    *([self._platform] if self._platform else []),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C is the server's to answer
                env=_environment(),
            )
        self._control = ours


def _pair(ours: ExitStack, its: ExitStack) -> tuple[socket.socket, socket.socket]:
    own, other = socket.socketpair()
    return ours.enter_context(own), its.enter_context(other)


def _received(report: socket.socket) -> bytes:
    try:
        return report.recv(LINE_BYTES)
    except OSError:
        return b""


def _ended(report: bytes) -> Ended:
    try:
        told = json.loads(report)
    except ValueError:
        return Ended("was lost with the process that starts workers", is_crash=False)
    if told["signal"]:
        return Ended(f"was ended by {in_words(told['signal'])}", is_crash=True)
    return Ended(f"ended with exit code {told['code']}", is_crash=True)


def _environment() -> dict[str, str]:
    """Ours, with the same places to import from, and no threads but those that a model is given."""
    places = [os.getcwd() if place == "" else place for place in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), "OPENBLAS_NUM_THREADS": "1"}
