"""Looks at all repositories and says what they offer.

`scan` blocks for as long as file systems take and new content takes to read, so it belongs in a thread. One
model's fault stays that model's; a repository that cannot be listed keeps what it offered last, as
a share that is not mounted for a minute must not unload everything.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import structlog

from server.domain.configuration import ModelConfig
from server.domain.offer import ModelOffer, Offers
from server.repository.candidate import Candidate, Look
from server.repository.seal import NOTHING_DEMANDED, Demand
from server.repository.selection import EVERY_MODEL, Selection
from server.repository.settling import Moment
from server.repository.snapshot import model_names

log = structlog.get_logger()

Remarks = Callable[[], Mapping[str, Mapping[int, str]]]
"""Model -> version -> why it is not in its folder, in a sentence; version 0 is for all of them."""

NO_NAMED: Mapping[str, frozenset[int]] = MappingProxyType({})
NO_REMARKS: Mapping[Path, Remarks] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Scan:
    """What the repositories offer, and when to look again if nothing seems to change; None for never.

    settling   the models of which nothing, or what was offered before, is offered until they come to rest
    """

    offers: Offers
    wait_s: float | None
    settling: frozenset[str] = frozenset()


class _Repository:
    """One repository folder, and what is known of its models between scans."""

    def __init__(self, path: Path, selection: Selection, remarks: Remarks) -> None:
        self.path = path
        self._remarks = remarks
        self._selection = selection
        self.candidates: dict[str, Candidate] = {}
        self.gone_since_s: dict[str, float] = {}
        self._absent: dict[str, ModelOffer] = {}
        self._identity: tuple[int, int] | None = None
        self._lost = ""

    def models(self) -> Collection[str] | None:
        """The models to look at; None where the repository is not there just now. Said once in the log."""
        try:
            facts = self.path.stat()
            identity = (facts.st_dev, facts.st_ino)
            names = model_names(self.path)
        except OSError as error:
            self._lose(str(error.strerror))
            return None
        if not names and self.candidates and identity != self._identity:
            self._lose("it is empty, and another folder than before: is it mounted?")
            return None
        if self._lost:
            log.info("repository_back", repository=str(self.path))
        self._lost, self._identity = "", identity
        return dict.fromkeys(name for name in names if self._selection.admits(name))

    def remarked(self, looks: Iterable[tuple[str, Look]]) -> Iterator[tuple[str, Look]]:
        """The looks with what is said of models and versions that are not in the folder.

        Remarks are read first: whoever fills the folder takes them back once what they are about is there.
        """
        remarks = dict(self._remarks())
        settling = {}
        for name, look in looks:
            offer = _remarked(look.offer, remarks.pop(name, {}))
            if offer is None and look.wait_s is not None and name in self._absent:
                offer = settling[name] = self._absent[name]  # it has come, and not come to rest yet
            yield name, look if offer is look.offer else replace(look, offer=offer)
        absent = {name: _absent(name, self.path / name, why) for name, why in remarks.items()}
        for name, offer in absent.items():
            yield name, Look(offer, None)
        self._absent = absent | settling

    def _lose(self, why: str) -> None:
        if why != self._lost:
            log.error(
                "repository_unavailable", repository=str(self.path), reason=why, kept=sorted(self.candidates)
            )
        self._lost = why


class Scanner:
    """All repositories of a server. Safe to call from any thread; scans follow one another.

    repositories   the folders, in the operator's order
    config_name    where a model has `configs/<config_name>.pbtxt`, that is its configuration
    settle_s       how long files must look the same before they count as written
    selection      the models to look at; all others are as if they were not there
    demand         what every version must bring
    remarks        what somebody who fills one of the folders has to say of it
    clock          monotonic seconds
    wall_clock     seconds since the epoch, as files are stamped
    """

    def __init__(
        self,
        repositories: Sequence[Path],
        *,
        config_name: str = "",
        settle_s: float = 1.0,
        selection: Selection = EVERY_MODEL,
        demand: Demand = NOTHING_DEMANDED,
        remarks: Mapping[Path, Remarks] = NO_REMARKS,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.repositories = tuple(dict.fromkeys(path.absolute() for path in repositories))
        self._known = [_Repository(path, selection, remarks.get(path, dict)) for path in self.repositories]
        self.demand = demand
        self._config_name = config_name
        self._settle_s = settle_s
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()

    def scan(self, named: Mapping[str, frozenset[int]] = NO_NAMED) -> Scan:
        """Look at every model once.

        `named` has the versions that are to be offered of some models, whatever their version policy says.
        """
        with self._lock:
            moment = Moment(self._clock(), self._wall_clock())
            found: dict[str, list[ModelOffer]] = {}
            waits = []
            settling = set()
            for repository in self._known:
                for name, look in repository.remarked(self._looks(repository, moment, named)):
                    if look.offer is not None:
                        found.setdefault(name, []).append(look.offer)
                    if look.wait_s is not None:
                        waits.append(look.wait_s)
                    if look.is_settling:
                        settling.add(name)
            offers = {name: _only(name, offers) for name, offers in sorted(found.items())}
            return Scan(MappingProxyType(offers), min(waits, default=None), frozenset(settling))

    def _looks(
        self, repository: _Repository, moment: Moment, named: Mapping[str, frozenset[int]]
    ) -> Iterator[tuple[str, Look]]:
        names = repository.models()
        if names is None:
            for name, candidate in repository.candidates.items():
                yield name, Look(candidate.offer, None)
            return
        for name in names:
            repository.gone_since_s.pop(name, None)
            if name not in repository.candidates:
                directory = repository.path / name
                repository.candidates[name] = Candidate(
                    name, directory, self._config_name, self._settle_s, demand=self.demand
                )
            yield name, self._look(name, repository.candidates[name], moment, named.get(name))
        for name in sorted(repository.candidates.keys() - names):
            gone_since_s = repository.gone_since_s.setdefault(name, moment.monotonic_s)
            wait_s = gone_since_s + self._settle_s - moment.monotonic_s
            if wait_s > 0:  # perhaps between the two renames that replace it
                yield name, Look(repository.candidates[name].offer, wait_s, is_settling=True)
            else:
                del repository.candidates[name], repository.gone_since_s[name]

    def _look(self, name: str, candidate: Candidate, moment: Moment, versions: frozenset[int] | None) -> Look:
        try:
            return candidate.look(moment, versions)
        except Exception as error:  # our own fault, and still no reason to lose the other models
            log.exception("model_not_scanned", model=name)
            return Look(candidate.refuse(f"could not be looked at: {error!r}"), None)


def _remarked(offer: ModelOffer | None, remarks: Mapping[int, str]) -> ModelOffer | None:
    """The offer with what is said of versions that it does not have."""
    if offer is None or not remarks or offer.problem:
        return offer
    said = {
        version: why
        for version, why in remarks.items()
        if version and version not in offer.versions and version not in offer.unsettled
    }
    return replace(offer, broken={**offer.broken, **said}, on_disk=offer.on_disk | said.keys())


def _absent(name: str, directory: Path, remarks: Mapping[int, str]) -> ModelOffer:
    """The offer of a model that has no folder, with the reason."""
    problem = "; ".join(f"version {at}: {why}" if at else why for at, why in sorted(remarks.items()))
    return ModelOffer(name=name, directory=directory, config=ModelConfig(name=name), problem=problem)


def _only(name: str, offers: list[ModelOffer]) -> ModelOffer:
    if len(offers) == 1:
        return offers[0]
    folders = " and ".join(str(offer.directory) for offer in offers)
    return ModelOffer(
        name=name,
        directory=offers[0].directory,
        config=ModelConfig(name=name),
        problem=f"is in more than one repository: {folders}",
    )
