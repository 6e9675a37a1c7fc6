"""The instances of one version: as many as its placements say, made and taken away while it serves.

Whether a reload needs no more than that is decided here, over plain values.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from runtimes.device import Device
from runtimes.session import Session
from server.domain.configuration import ModelConfig
from server.domain.offer import ModelOffer, VersionOffer, content_of
from server.lifecycle.instance import Instance
from server.lifecycle.placement import Placement
from server.observe.tally import Fill
from server.scheduling.resources import needs_of

Placed = list[tuple[Placement, list[Instance]]]


@dataclass(frozen=True, slots=True)
class Content:
    """What a version is made of, as fingerprints.

    whole           equal: there is nothing to do
    but_instances   equal: nothing differs but the instance groups; empty where that is not known
    """

    whole: str
    but_instances: str = ""

    def is_like(self, other: "Content") -> bool:
        """Whether nothing differs, but perhaps the instance groups."""
        return self.whole == other.whole or (self.but_instances == other.but_instances != "")


def made_of(offer: ModelOffer, version: VersionOffer) -> Content:
    """Files that lie elsewhere are another content: code of their own may know where it lies."""
    rest = offer.fingerprint_but_instances
    return Content(
        whole=content_of(offer, version),
        but_instances=f"{rest}:{version.fingerprint}:{version.directory}" if rest else "",
    )


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
        self._placed: Placed = []
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
        return self.have(self.wanted(placements))

    def wanted(self, placements: Sequence[Placement]) -> Placed:
        """Those that there would be: old ones where they fit, and new ones. Nothing has changed yet."""
        before = {
            (old.device, old.resources, old.priority): list(instances) for old, instances in self._placed
        }
        placed = []
        for placement in placements:
            has = before.get((placement.device, placement.resources, placement.priority), [])
            kept = [has.pop(0) for _ in range(min(len(has), placement.count))]
            new = [self._make(placement) for _ in range(placement.count - len(kept))]
            placed.append((placement, kept + new))
        return placed

    def have(self, placed: Placed) -> list[Instance]:
        """These from now on. Those that are over come back."""
        before, self._placed = list(self), placed
        kept = {id(instance) for instance in self}
        return [instance for instance in before if id(instance) not in kept]

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
