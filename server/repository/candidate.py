"""One model's folder over time: what of it can be offered now, and when to look again.

The scanner owns one of these for each folder and looks at it under its lock. What a half-written file
would spoil waits: until the files are at rest, the offer stays as it was.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from server.domain.configuration import ModelConfig, VersionPolicy
from server.domain.offer import ModelOffer
from server.repository.configuration import Reading
from server.repository.declaration import Declaration
from server.repository.fingerprint import ContentMoved, Fingerprints
from server.repository.invalid import ConfigInvalid
from server.repository.rules import BACKEND_OF
from server.repository.seal import NOTHING_DEMANDED, Demand
from server.repository.settling import Moment
from server.repository.snapshot import FolderUnreadable, ModelFolder, take_snapshot
from server.repository.version_labels import VersionLabels
from server.repository.versions import Versions


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a model's folder gave.

    offer         None while its first files are still being written, and for a model that is not enabled
    wait_s        when to look again although nothing seems to change; None for never
    is_settling   the offer is that of an earlier look: what is there now has not come to rest
    """

    offer: ModelOffer | None
    wait_s: float | None
    is_settling: bool = False


class Candidate:
    """One model's folder, looked at again and again by one caller at a time."""

    def __init__(
        self,
        name: str,
        directory: Path,
        config_name: str,
        settle_s: float,
        given: Reading | None = None,
        demand: Demand = NOTHING_DEMANDED,
    ) -> None:
        """`given` stands in place of a configuration file."""
        self.offer: ModelOffer | None = None
        self._name = name
        self._directory = directory
        self._settle_s = settle_s
        self._fingerprints = Fingerprints()
        self._declaration = Declaration(name, directory, config_name, settle_s, given)
        self._version_labels = VersionLabels(name, directory)
        self._versions = Versions(settle_s, self._fingerprints, demand)
        self._snapshot: ModelFolder | None = None
        self._named: frozenset[int] | None = None
        self._at_rest = False

    def look(self, moment: Moment, named: frozenset[int] | None = None) -> Look:
        """See what can be offered: the `named` versions, or those that the version policy chooses.

        What lies in the folder never raises: it becomes the offer's `problem`.
        """
        try:
            snapshot = take_snapshot(self._directory)
            if (snapshot, named) == (self._snapshot, self._named) and self._at_rest:
                return Look(self.offer, None)
            self._snapshot, self._named = snapshot, named
            look = self._decide(snapshot, moment)
        except (FileNotFoundError, ContentMoved):  # it changes while we look
            look = Look(self.offer, self._settle_s, is_settling=True)
        except (FolderUnreadable, ConfigInvalid) as error:
            look = Look(self.refuse(str(error)), None)
        except OSError as error:
            where = Path(error.filename).name if error.filename else self._name
            look = Look(self.refuse(f"{where} cannot be read: {error.strerror}"), None)
        self.offer = look.offer
        self._at_rest = look.wait_s is None
        return look

    def refuse(self, problem: str, config: ModelConfig | None = None, fingerprint: str = "") -> ModelOffer:
        """The offer of a model that cannot be served as a whole."""
        return ModelOffer(
            name=self._name,
            directory=self._directory,
            config=config,
            fingerprint=fingerprint,
            problem=problem,
        )

    def _decide(self, snapshot: ModelFolder, moment: Moment) -> Look:
        self._versions.see(snapshot, moment)
        wait_s = self._declaration.wait_s(snapshot.beside, moment, new=self.offer is None)
        if wait_s > 0:
            return Look(self.offer, wait_s, is_settling=True)
        reading, files = self._declaration.read(snapshot.beside)
        config = reading.config
        named = self._fingerprints.of(str(self._directory), files)
        fingerprint = _joined(reading.fingerprint, named)
        if reading.not_served:
            return Look(self.refuse(reading.not_served, config, fingerprint), None)
        if not config.is_enabled:
            return Look(None, None)
        policy = config.version_policy
        if self._named is not None:
            policy = VersionPolicy(latest=None, specific=self._named)
        choice = self._versions.choose(snapshot, config, policy, moment)
        self._fingerprints.forget_unused()
        if not (snapshot.versions or snapshot.unreadable or choice.unsettled):
            why = "holds no version folder: one that is named 1, 2 or so on"
            return Look(self.refuse(why, config, fingerprint), None)
        if config.platform is None and choice.platform is not None:
            config = replace(config, platform=choice.platform, backend=BACKEND_OF[choice.platform])
        offer = ModelOffer(
            name=self._name,
            directory=self._directory,
            config=config,
            fingerprint=fingerprint,
            fingerprint_but_instances=_joined(reading.fingerprint_but_instances, named),
            versions=choice.versions,
            unsettled=choice.unsettled,
            broken=choice.broken,
            on_disk=frozenset(snapshot.versions) | snapshot.unreadable.keys(),
            labels={name: self._directory / name for name in config.label_files},
            version_labels=self._version_labels.read(snapshot.beside),
            one_by_one=self._named is not None,
        )
        return Look(offer, choice.wait_s)


def _joined(one: str, other: str) -> str:
    return hashlib.sha256((one + other).encode()).hexdigest()
