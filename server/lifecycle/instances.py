"""The instances of one version: as many as its placements say, made and taken away while it serves.

Whether a reload needs no more than that is decided here, over plain values.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from runtimes.device import Device
from runtimes.session import Session
from server.domain.configuration import ModelConfig
from server.lifecycle.instance import Instance
from server.lifecycle.placement import Placement
from server.observe.tally import Fill
from server.scheduling.resources import needs_of


@dataclass(frozen=True, slots=True)
class Content:
    """What a version is made of, as fingerprints.

    whole           equal: there is nothing to do
    but_instances   equal: nothing differs but the instance groups; empty where that is not known
    """

    whole: str
    but_instances: str = ""


def in_place(
    serves: Content, offered: Content, devices: Collection[Device], wanted: Sequence[Placement]
) -> bool:
    """Whether what serves on these devices can become what is offered without loading anything."""
    only_instances = bool(offered.but_instances) and serves.but_instances == offered.but_instances
    return only_instances and {each.device for each in wanted} == set(devices)


class Instances:
    """Those of one version, over its sessions. `name` is what their threads are called by."""

    def __init__(
        self,
        name: str,
        sessions: Mapping[Device, Session],
        config: ModelConfig,
        fill: Fill | None = None,
    ) -> None:
        self._fill = fill
        self._name = name
        self._sessions = sessions
        self._config = config
        self._placed: list[tuple[Placement, list[Instance]]] = []
        self._made: Counter[Device] = Counter()

    def __iter__(self) -> Iterator[Instance]:
        for _, instances in self._placed:
            yield from instances

    @property
    def devices(self) -> Collection[Device]:
        return self._sessions.keys()

    def place(self, placements: Sequence[Placement]) -> list[Instance]:
        """Have as many as these say, on the devices that there are sessions for. Those that are over come
        back, to be closed once nobody starts a run on them."""
        before = {(old.device, old.resources, old.priority): instances for old, instances in self._placed}
        self._placed = []
        for placement in placements:
            has = before.pop((placement.device, placement.resources, placement.priority), [])
            kept = [has.pop(0) for _ in range(min(len(has), placement.count))]
            new = [self._make(placement) for _ in range(placement.count - len(kept))]
            if has:
                before[placement.device, placement.resources, placement.priority] = has
            self._placed.append((placement, kept + new))
        return [instance for instances in before.values() for instance in instances]

    def _make(self, placement: Placement) -> Instance:
        device = placement.device
        number = self._made[device]
        self._made[device] += 1
        return Instance(
            f"{self._name} {device} #{number}",
            str(device),
            self._sessions[device],
            self._config,
            needs=needs_of(placement.resources, str(device)),
            priority=placement.priority,
            fill=self._fill,
        )
