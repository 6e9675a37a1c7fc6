"""Keeps what a process does on CUDA devices out of the way of a graph that is being captured.

While ONNX Runtime records a CUDA graph it does so in CUDA's "global" mode: a call of any other thread that
takes memory or waits for the device fails, and spoils the graph with it. So runs, loads and unloads go side
by side, and a capture goes alone. Captures happen when a model is loaded, and take some milliseconds for
each graph.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

from runtimes.errors import RunFailed
from runtimes.session import Session
from runtimes.tensors import Array, Tensors

PATIENCE_S = 60.0
"""For those who are in the way."""


class Gate:
    """Many beside each other, or one alone. Who wants to be alone is let in before those who come later."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._change = threading.Condition(threading.Lock())
        self._together = 0
        self._alone = 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raises `RunFailed` if a capture takes for ever."""
        with self._change:
            if self._alone and not self._change.wait_for(lambda: not self._alone, self._patience_s):
                raise RunFailed(f"a CUDA graph is being captured, for {self._patience_s:.0f} s by now")
            self._together += 1
        try:
            yield
        finally:
            with self._change:
                self._together -= 1
                if self._alone and not self._together:
                    self._change.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Raises `RunFailed` if others do not end."""
        until = monotonic() + self._patience_s
        with self._change:
            if not self._change.wait_for(lambda: not self._alone, self._patience_s):
                raise RunFailed("another CUDA graph is being captured, and does not end")
            self._alone = 1
            if not self._change.wait_for(lambda: not self._together, until - monotonic()):
                self._alone = 0
                self._change.notify_all()
                raise RunFailed(
                    "no CUDA graph could be captured: "
                    f"runs on the device did not end for {self._patience_s:.0f} s"
                )
        try:
            yield
        finally:
            with self._change:
                self._alone = 0
                self._change.notify_all()


GATE = Gate()
"""Of this process, for all of its devices."""


class Gated:
    """A session on a CUDA device, which stands back while a graph is captured."""

    def __init__(self, session: Session, gate: Gate = GATE) -> None:
        self.description = session.description
        self._session = session
        self._gate = gate

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        with self._gate.together():
            return self._session.run(inputs, outputs)

    def close(self) -> None:
        with self._gate.together():
            self._session.close()
