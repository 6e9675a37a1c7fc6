"""How much memory a version will take, before it is loaded; and what is counted for it once it is.

Pure. What counts is what stays: the loaded model, and what as many runs of its largest batch as there are
instances take beside it, for a runtime's arena keeps that. docs/decisions/residency.md argues whose word goes
before whose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from server.lifecycle.residency.accountant import Bytes
from server.lifecycle.verdict import Verdict

GUESS = 2.0
"""Bytes of memory for each byte of the model's files, where nothing is known but these."""

NOTICEABLE_BYTES = 2**20
"""Less than this is noise of the process that loads."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the process itself saw around a load.

    grown   by how much each device's use grew; a device that was not looked at is absent
    alone   whether no other load was under way meanwhile, so that this is the load's own
    elsewhere   bytes of a worker process that has this model alone; 0 where it has none
    """

    grown: Bytes
    alone: bool
    elsewhere: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a version will take of each device.

    loaded   once it is open
    runs     beyond that, while as many runs as it has instances are under way, each of its largest batch
    tried    whether a trial measured it, in a process where nothing else happened
    """

    loaded: Bytes
    runs: Bytes
    tried: bool

    @property
    def needs(self) -> Bytes:
        """What to reserve."""
        return {device: count + self.runs[device] for device, count in self.loaded.items()}

    def settled(self, reading: Reading) -> Bytes:
        """What to count once it is loaded.

        On the processor a trial knows better than the process that serves: what grew there meanwhile may be
        anybody's. A worker process is the version's own, and all of it counts. On a CUDA device, where no
        trial was, what was seen there goes before everything.
        """
        return {
            device: (self._seen(device, reading) or count) + self.runs[device]
            for device, count in self.loaded.items()
        }

    def error(self, reading: Reading) -> Mapping[str, float]:
        """By device, estimated over seen: 1 is a perfect estimate. Only where it could be seen."""
        return {
            device: count / seen
            for device, count in self.loaded.items()
            if (seen := self._seen(device, reading)) is not None
        }

    def _seen(self, device: str, reading: Reading) -> int | None:
        if device == "cpu" and reading.elsewhere:
            return reading.elsewhere
        if not reading.alone or (self.tried and device == "cpu"):
            return None
        grown = reading.grown.get(device, 0)
        return grown if grown >= NOTICEABLE_BYTES else None


NO_MEMORY = Estimate({}, {}, tried=True)
"""Of an ensemble: its members have it."""


def estimate(
    verdict: Verdict | None,
    file_bytes: int,
    instances: Mapping[str, int],
    most_rows: int,
    process_bytes: int = 0,
) -> Estimate:
    """`verdict` as its trial gave it, or None without one; `instances` as many as run at once on each device.

    file_bytes   of the model's files, for want of a verdict
    most_rows    of one run; 0 where the model has no rows
    process_bytes   of a process that the version is to have for itself, without the model
    """
    if verdict is None or not verdict.loaded_bytes:
        guessed = ceil(GUESS * file_bytes)
        loaded = _in_process(dict.fromkeys(instances, guessed), process_bytes)
        return Estimate(loaded, dict.fromkeys(loaded, 0), tried=False)
    tried_rows = max(verdict.run_seconds, default=1)
    beyond = max(1.0, max(1, most_rows) / tried_rows)
    one_run = ceil(verdict.run_bytes * beyond)
    loaded = _in_process(dict.fromkeys(instances, verdict.loaded_bytes), process_bytes)
    runs = {device: instances.get(device, 0) * one_run for device in loaded}
    return Estimate(loaded, runs, tried=True)


def _in_process(loaded: Bytes, process_bytes: int) -> Bytes:
    """On the host, whichever devices the process uses."""
    return {**loaded, "cpu": loaded.get("cpu", 0) + process_bytes} if process_bytes else loaded
