"""Sees how much memory a load takes in the process that serves, where that can be told at all.

Another load under way at the same time spoils the reading, and it says so. Used from loader threads.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtimes.device import Device
from runtimes.device_memory import device_memory
from runtimes.memory import trim
from server.lifecycle.memory import own_bytes
from server.lifecycle.residency.accountant import NOTHING
from server.lifecycle.residency.estimate import Reading


class Watched:
    """One load; `reading` holds once it is over."""

    def __init__(self, alone: bool) -> None:
        self.alone = alone
        self.reading = Reading(NOTHING, alone=False)


class LoadMeter:
    """Knows which loads are under way, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[Watched] = set()

    @contextmanager
    def around(self, devices: Iterable[Device], folder: Path) -> Iterator[Watched]:
        """Look at these devices before and after. The processor costs milliseconds: what was freed is given
        back first, so that it does not count. `folder` holds the files of the version.
        """
        looked_at = list(devices)
        watched = self._begin()
        try:
            before = {device: _used(device, folder) for device in looked_at}
            yield watched
            grown: dict[str, int] = {}
            for device, at_first in before.items():
                now = _used(device, folder)
                if at_first is not None and now is not None:
                    grown[str(device)] = max(0, now - at_first)
            watched.reading = Reading(grown, watched.alone)
        finally:
            with self._lock:
                self._under_way.discard(watched)

    def _begin(self) -> Watched:
        with self._lock:
            for other in self._under_way:
                other.alone = False
            watched = Watched(alone=not self._under_way)
            self._under_way.add(watched)
            return watched


def _used(device: Device, folder: Path) -> int | None:
    if device.kind == "cpu":
        trim()
        return own_bytes(folder)
    memory = device_memory(device)
    return None if memory is None else memory.total_bytes - memory.free_bytes
