"""The one thread that has memory given back which is not used any more, once a second, while there is any.

It costs whoever uses that memory nothing: they say once that there is something to look after, and are looked
after until they say that there is not.
"""

import threading
import weakref
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)

EVERY_S = 1.0


class Tidied(Protocol):
    def tidy(self) -> bool:
        """Give back what was not in use since the last call; whether to call again."""


class Tidier:
    """A daemon thread, from the first `start` to the end of the process. It keeps nobody alive."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._coming: SimpleQueue[weakref.ref[Tidied]] = SimpleQueue()

    def start(self) -> None:
        """Once is enough, and more changes nothing."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._tidy, name="tidier", daemon=True)
                self._thread.start()

    def watch(self, one: Tidied) -> None:
        """From any thread, also from an event loop. It is called first within a second from now."""
        self._coming.put(weakref.ref(one))

    def _tidy(self) -> None:
        watched: list[weakref.ref[Tidied]] = []
        while True:
            if not watched:
                watched.append(self._coming.get())
            until = monotonic() + self._every_s
            while (left := until - monotonic()) > 0:
                try:
                    watched.append(self._coming.get(timeout=left))
                except Empty:
                    break
            watched = [one for one in watched if _goes_on(one)]


def _goes_on(one: "weakref.ref[Tidied]") -> bool:
    tidied = one()
    try:
        return tidied is not None and tidied.tidy()
    except Exception:  # a fault of ours: that one keeps its memory, and others are looked after
        log.exception("memory_not_given_back")
        return False


TIDIER = Tidier()
"""Of this process."""
