"""A worker process from one start to its end, and the lanes that lead there."""

import threading
from typing import Any

from runtimes.errors import RuntimeFault
from runtimes.slab import Place
from runtimes.worker.lane import Lane, LaneLost
from runtimes.worker.start import Ended, Process


class Life:
    """Used by every thread that runs there; `end` is called once, by whoever saw the end.

    stranded   places that the process may write to until it is gone; of its `Worker`, under its lock
    killed     why it was, as the rest of "its runtime worker ..."
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.stranded: list[Place] = []
        self.killed = ""
        self.ended: Ended | None = None
        self.over = threading.Event()
        self._keeping = threading.Lock()
        self._idle: list[Lane] = []

    def lane(self) -> Lane:
        """Raises `LaneLost`."""
        with self._keeping:
            if self.over.is_set():
                raise LaneLost
            if self._idle:
                return self._idle.pop()
        return Lane(self.process.lane())

    def keep(self, lane: Lane) -> None:
        """For whoever asks next."""
        with self._keeping:
            if not self.over.is_set():
                self._idle.append(lane)
                return
        lane.close()

    def end(self) -> None:
        """The process has gone."""
        with self._keeping:
            self.over.set()
            lanes, self._idle = self._idle, []
        for lane in lanes:
            lane.close()

    def ask(self, message: Any, within_s: float) -> dict[str, Any]:
        """Raises `LaneLost`, or the `RuntimeFault` that came back."""
        lane = self.lane()
        try:
            answer = lane.ask(message, within_s)
        except LaneLost:
            lane.close()
            raise
        except RuntimeFault:
            self.keep(lane)
            raise
        self.keep(lane)
        return answer

    @property
    def why(self) -> str:
        """The rest of "its runtime worker ..."."""
        return self.killed or (self.ended.why if self.ended is not None else "is gone")
