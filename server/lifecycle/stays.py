"""Who is in memory, since when, and how often it is asked for: what decisions about memory are made over.

Nothing is done for a request: uses are read from the counters of the versions when somebody looks.
Lives on the event loop.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from time import monotonic, time

from server.domain.configuration import ModelConfig
from server.domain.offer import ModelOffer
from server.lifecycle.idle import Known, Origin
from server.lifecycle.residency.accountant import Accountant, Holding, Key
from server.lifecycle.residency.decision import Kind, Resident
from server.lifecycle.residency.estimate import Estimate
from server.lifecycle.residency.eviction import GreedyDual
from server.lifecycle.residency.picture import picture
from server.lifecycle.residency.pinning import is_pinned
from server.lifecycle.served import Served
from server.lifecycle.version import ServedVersion
from server.observe.metrics import MemoryPicture
from server.observe.tally import Tally


@dataclass(eq=False, slots=True)
class Stay:
    """One version in memory. `requests` of it are told to the policy by now; `asked` if any came."""

    served: ServedVersion
    origin: Origin
    holding: Holding
    estimate: Estimate | None
    since: float
    requests: int
    asked: bool = False
    is_leaving: bool = False
    is_evicted: bool = False

    @property
    def key(self) -> Key:
        return self.holding.key


class Stays:
    """All of them, and the policy by which they leave.

    pinned    patterns of the names of models that never leave
    standby   what is in memory of a model only because its successor is on probation
    """

    def __init__(
        self,
        accountant: Accountant,
        pinned: Sequence[str],
        standby: Callable[[str], ServedVersion | None],
    ) -> None:
        self.policy = GreedyDual()
        self._accountant = accountant
        self._pinned = pinned
        self._standby = standby
        self._stays: dict[ServedVersion, Stay] = {}
        self._told: dict[Key, Stay] = {}

    def begin(self, came: ServedVersion, origin: Origin, holding: Holding, known: Known) -> Stay:
        """It is in memory."""
        measured, tally = known.settled(came.reading), came.facts.tally
        self._accountant.settle(holding, measured)
        came.facts = replace(came.facts, memory=measured)
        stay = Stay(came, origin, holding, known.estimate, monotonic(), _requests(tally))
        self._stays[came] = stay
        self.policy.note_load(holding.key, sum(measured.values()), tally.load_seconds)
        return stay

    def known(self, stay: Stay) -> Known:
        """What is known of it when it leaves."""
        return Known(
            needs=self._accountant.held(stay.holding),
            estimate=None,
            load_s=stay.served.facts.tally.load_seconds,
            learned=stay.served.learned,
        )

    def of(self, served: Served) -> Stay | None:
        return self._stays.get(served) if isinstance(served, ServedVersion) else None

    def keys(self, versions: Collection[Served]) -> list[Key]:
        """Of those that are in memory."""
        return [stay.key for served in versions if (stay := self.of(served)) is not None]

    def leaving(self, served: Served) -> None:
        """Requests do not reach it any more; its memory is not back yet."""
        stay = self.of(served)
        if stay is not None:
            stay.is_leaving = True
            self._accountant.leaving(stay.holding)
            if all(other.is_leaving for other in self._stays.values() if other.key == stay.key):
                self.policy.note_eviction(stay.key)

    def gone(self, served: Served) -> Stay | None:
        """It is closed. Its memory is for the caller to enter in the books."""
        stay = self.of(served)
        return self._stays.pop(stay.served) if stay is not None else None

    def resized(self, served: ServedVersion, offer: ModelOffer) -> None:
        """Its instances have changed, and nothing else: that is what it comes back as."""
        stay = self._stays.get(served)
        if stay is not None:
            stay.origin = replace(stay.origin, offer=offer, content=served.content)

    def residents(self) -> list[Resident]:
        """What is in memory and not leaving, the first to go first.

        What only stands by has the number of its version below 0, as its successor may have the same one.
        """
        stays = self._told = {self._place(stay): stay for stay in self._staying()}
        for stay in stays.values():
            self.note_uses(stay)
        return [
            Resident(
                key=key,
                bytes=self._accountant.held(stays[key].holding),
                kind=Kind.STANDBY if key[1] < 0 else Kind.SERVING,
                pinned=self.is_pinned(stays[key].served.facts.config),
                in_use=stays[key].served.in_use,
                since=stays[key].since if stays[key].asked else -inf,
                load_s=stays[key].served.facts.tally.load_seconds,
            )
            for key in self.policy.order(stays)
        ]

    def in_use(self, key: Key) -> bool:
        """Whether a resident, as last told of, still is in use, and could not leave."""
        stay = self._told.get(key)
        return stay is not None and not stay.is_leaving and stay.served.in_use

    def unasked(self, for_s: float) -> Iterator[tuple[ServedVersion, float]]:
        """Those that may leave, and in how many seconds they will not have been asked for so long."""
        now = time()
        for stay in list(self._staying()):
            if self._place(stay) == stay.key and not self.is_pinned(stay.served.facts.config):
                last = stay.served.facts.tally.last_inference / 1000
                yield stay.served, max(last, now - (monotonic() - stay.since)) + for_s - now

    def picture(self) -> MemoryPicture:
        """For metrics."""
        for stay in self._staying():
            self.note_uses(stay)
        errors = {
            stay.key: stay.estimate.error(stay.served.reading)
            for stay in self._staying()
            if stay.estimate is not None
        }
        return picture(self._accountant, self.policy, errors, monotonic())

    def note_uses(self, stay: Stay) -> None:
        """Tell the policy how often it was asked for since it was last told."""
        requests = _requests(stay.served.facts.tally)
        if requests != stay.requests:
            self.policy.note_use(stay.key, monotonic(), requests - stay.requests)
            stay.requests, stay.asked = requests, True

    def is_pinned(self, config: ModelConfig | None) -> bool:
        return config is not None and is_pinned(config, self._pinned)

    def _staying(self) -> Iterator[Stay]:
        return (stay for stay in self._stays.values() if not stay.is_leaving)

    def _place(self, stay: Stay) -> Key:
        model, version = stay.key
        return (model, -version) if self._standby(model) is stay.served else stay.key


def _requests(tally: Tally) -> int:
    return tally.success.count + tally.fail.count
