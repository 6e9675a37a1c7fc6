"""What the repositories offer, and which of it is to be served: told by the manager's caller, read by all.

What follows from that for what serves by now is decided here, too, in plain functions.
"""

from collections.abc import Collection, Iterable, Mapping

from server.domain.labels import NO_PINS
from server.domain.offer import ModelOffer, Offers, content_of
from server.domain.scheduling import UNSAID, Scheduling
from server.lifecycle.dependencies import Dependencies
from server.lifecycle.served import Served
from server.lifecycle.table import Table


class Wishes:
    """By now. Changed by the manager alone; lives on the event loop.

    offers    every model that there is
    is_over   the server is closing: nothing more is wanted
    """

    def __init__(self, table: Table, dependencies: Dependencies) -> None:
        self.offers: Offers = {}
        self.is_over = False
        self._table = table
        self._dependencies = dependencies
        self._wanted: frozenset[str] = frozenset()
        self._required: frozenset[str] | None = None

    def learn(self, offers: Offers, wanted: Iterable[str]) -> set[str]:
        """These from now on; the models for which something has changed."""
        wanted = frozenset(wanted)
        changed = {
            name for name in self.offers.keys() | offers.keys() if self.offers.get(name) != offers.get(name)
        }
        changed |= self._wanted ^ wanted
        self.offers, self._wanted = offers, wanted
        self._dependencies.learn(offers)
        if self._required is None:
            self._required = wanted
        return changed

    def has(self, model: str) -> bool:
        """Whether a model is to be served."""
        return model in self._wanted

    def contents(self, model: str) -> frozenset[str]:
        """What is to be served of a model."""
        offer = self.offers.get(model) if self.has(model) else None
        if offer is None:
            return frozenset()
        return frozenset(content_of(offer, version) for version in offer.versions.values())

    def ready(self, strict: bool) -> bool:
        """Whether the required models serve. Required are those wanted at the start, while they are wanted.

        What fails later, or is reloaded, or was unloaded on purpose, does not change the answer; nor do the
        ensembles over what was unloaded on purpose.
        """
        if self._required is None:
            return False
        missing = {model for model in self._required & self._wanted if not self._table.versions(model)}
        if not strict or not missing:
            return True
        return missing <= self._dependencies.all_over(self.offers.keys() - self._wanted)

    def excuse(self, model: str) -> None:
        """From now on it is required no more."""
        if self._required is not None:
            self._required -= {model}

    @property
    def sharers(self) -> int:
        """How many models share the processors; ensembles run nothing themselves."""
        return len(self._wanted - set(self._dependencies.ensembles))

    def scheduling(self, model: str) -> Scheduling:
        """What its configuration says of its answers."""
        offer = self.offers.get(model)
        return offer.config.scheduling if offer is not None and offer.config is not None else UNSAID

    def labels(self, model: str) -> Mapping[str, int]:
        """Those that its configuration has."""
        offer = self.offers.get(model)
        return offer.version_labels if offer is not None else NO_PINS


def staying(offer: ModelOffer) -> Collection[int]:
    """The versions that do not go: wanted, not settled yet, or broken on disk only by now."""
    return offer.versions.keys() | offer.unsettled | offer.broken.keys()


def outgoing(offer: ModelOffer, serving: Mapping[int, Served], number: int) -> list[Served]:
    """What serves of a model and goes once this version of it serves."""
    stay = staying(offer)
    return [served for version, served in serving.items() if version == number or version not in stay]


def leftovers(offer: ModelOffer, serving: Collection[int], restored: int | None) -> list[int]:
    """Versions that are to go: once those that are wanted serve, or when their folder is gone.

    One that was `restored`, as its successor failed, needs no folder. Where versions are named one by one,
    nobody waits for a successor.
    """
    complete = offer.one_by_one or (
        all(version in serving for version in offer.versions) and not offer.unsettled | offer.broken.keys()
    )
    stay = staying(offer)
    return [
        version
        for version in serving
        if version not in stay and (complete or not (version in offer.on_disk or version == restored))
    ]
