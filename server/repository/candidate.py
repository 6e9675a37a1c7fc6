"""One model's folder over time: what of it can be offered now, and when to look again.

The scanner owns one of these for each folder and looks at it under its lock. What a half-written file
would spoil waits here: the offer stays as it was until the files are at rest.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from server.domain.configuration import ModelConfig, Platform
from server.domain.offer import ModelOffer, VersionOffer
from server.repository.configuration import Reading, read_nothing, read_text
from server.repository.container import is_complete
from server.repository.fingerprint import ContentMoved, Fingerprints
from server.repository.invalid import ConfigInvalid
from server.repository.modelfile import NoModelFile, choose_file, platform_of_file
from server.repository.rules import BACKENDS
from server.repository.settling import Sighting, moved_in, sight, wait_s
from server.repository.snapshot import Folder, FolderUnreadable, ModelFolder, Stamp, take_snapshot

log = structlog.get_logger()

_BACKEND_OF = {platform: backend for backend, platform in BACKENDS.items()}
_EXAMPLE = re.compile(r"examples/[^/]+\.json")
_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """When a look is taken: by our monotonic clock, and by the clock that file times are written in."""

    monotonic_s: float
    epoch_s: float

    def age_s(self, changed_ns: int) -> float:
        return self.epoch_s - changed_ns / _NANO


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a model's folder gave.

    offer     None while its first files are still being written
    wait_s    when to look again although nothing seems to change; None for never
    """

    offer: ModelOffer | None
    wait_s: float | None


@dataclass(slots=True)
class _Version:
    """What is remembered of one version folder.

    offered   what the last offer held of it, or None
    differs   its content is known to be other than what was offered, so it need not be read again
              before it is at rest
    gone_since_s   of the monotonic clock, when its folder was first missed
    """

    sighting: Sighting | None = None
    offered: VersionOffer | None = None
    differs: bool = False
    gone_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """One version folder at this moment: the model file or why there is none, and how long it must wait."""

    folder: Folder
    file: str
    broken: str
    wait_s: float


class Candidate:
    """One model's folder, looked at again and again by one caller at a time."""

    def __init__(
        self,
        name: str,
        directory: Path,
        config_name: str,
        settle_s: float,
        given: Reading | None = None,
    ) -> None:
        """`given` stands in place of a configuration file."""
        self.offer: ModelOffer | None = None
        self._name = name
        self._directory = directory
        self._config_name = config_name
        self._settle_s = settle_s
        self._fingerprints = Fingerprints()
        self._snapshot: ModelFolder | None = None
        self._at_rest = False
        self._settings: Sighting | None = None
        self._settings_read: tuple[object, ...] | None = None
        self._read_from: tuple[str, Stamp | None] | None = None
        self._given = given
        self._reading: Reading | ConfigInvalid = given or read_nothing(name)
        self._warned = ""
        self._platform: Platform | None = None
        self._versions: dict[int, _Version] = {}

    def look(self, moment: Moment) -> Look:
        """See what can be offered. What lies in the folder never raises: it becomes the offer's `problem`."""
        try:
            snapshot = take_snapshot(self._directory)
            if snapshot == self._snapshot and self._at_rest:
                return Look(self.offer, None)
            self._snapshot = snapshot
            look = self._decide(snapshot, moment)
        except (FileNotFoundError, ContentMoved):  # it changes while we look
            look = Look(self.offer, self._settle_s)
        except FolderUnreadable as error:
            look = Look(self.refuse(str(error)), None)
        except ConfigInvalid as error:
            look = Look(self.refuse(str(error)), None)
        except OSError as error:
            where = Path(error.filename).name if error.filename else self._name
            look = Look(self.refuse(f"{where} cannot be read: {error.strerror}"), None)
        self.offer = look.offer
        self._at_rest = look.wait_s is None
        return look

    def refuse(self, problem: str, config: ModelConfig | None = None) -> ModelOffer:
        """The offer of a model that cannot be served as a whole."""
        return ModelOffer(name=self._name, directory=self._directory, config=config, problem=problem)

    def _decide(self, snapshot: ModelFolder, moment: Moment) -> Look:
        self._see(snapshot, moment)
        settings_wait_s = self._settings_wait_s(snapshot.beside, moment)
        if settings_wait_s > 0:
            return Look(self.offer, settings_wait_s)
        reading = self._read(snapshot.beside)
        self._settings_read = self._settings_of(snapshot.beside)
        labels = _labels(reading, snapshot.beside)
        fingerprint = hashlib.sha256(
            (reading.fingerprint + self._fingerprints.of(snapshot.beside.path, labels)).encode()
        ).hexdigest()
        if reading.not_served:
            refused = self.refuse(reading.not_served, reading.config)
            return Look(replace(refused, fingerprint=fingerprint), None)
        found = dict(self._find(snapshot, reading.config, moment))
        found, config = self._of_one_platform(found, reading.config)
        missed = self._missed(snapshot, moment)
        offer = self._offer_of(snapshot, config, found, frozenset(missed))
        if not (snapshot.versions or snapshot.unreadable or missed):
            offer = self.refuse("holds no version folder: one that is named 1, 2 or so on", config)
        self._fingerprints.forget_unused()
        waits = [one.wait_s for one in found.values() if one.wait_s > 0] + list(missed.values())
        if offer.unsettled and not waits:  # a file changed while it was read
            waits = [self._settle_s]
        return Look(
            replace(
                offer,
                fingerprint=fingerprint,
                labels={name: snapshot.beside.path / name for name in labels},
            ),
            min(waits, default=None),
        )

    def _see(self, snapshot: ModelFolder, moment: Moment) -> None:
        for version, folder in snapshot.versions.items():
            known = self._versions.setdefault(version, _Version())
            known.gone_since_s = None
            age_s = moment.age_s(max(folder.changed_ns, folder.mtime_ns))
            known.sighting = sight(known.sighting, folder.stamps, moment.monotonic_s, age_s)

    def _settings_wait_s(self, beside: Folder, moment: Moment) -> float:
        """How long until configuration and labels are at rest; of a new model, all beside its versions."""
        seen = self._settings_of(beside)
        if seen == self._settings_read:
            return 0.0
        if self.offer is None:
            seen = (*beside.stamps, beside.mtime_ns)
        age_s = moment.age_s(max(beside.changed_ns, beside.ctime_ns))
        self._settings = sight(self._settings, seen, moment.monotonic_s, age_s)
        arrived = moved_in(beside, beside.changed_ns)
        return wait_s(self._settings.quiet_s(moment.monotonic_s), self._settle_s, arrived, complete=True)

    def _settings_of(self, beside: Folder) -> tuple[object, ...]:
        labels = _label_names(self._reading) if isinstance(self._reading, Reading) else set()
        return tuple((name, beside.files.get(name)) for name in sorted({self._config_file(beside)} | labels))

    def _config_file(self, beside: Folder) -> str:
        named = f"configs/{self._config_name}.pbtxt"
        return named if self._config_name and named in beside.files else "config.pbtxt"

    def _read(self, beside: Folder) -> Reading:
        """Read the configuration where its file is another than before. Raises `ConfigInvalid`."""
        name = self._config_file(beside)
        stamp = beside.files.get(name)
        if self._read_from != (name, stamp):
            self._reading = self._read_anew(name, stamp)
            self._read_from = (name, stamp)
        if isinstance(self._reading, ConfigInvalid):
            raise self._reading
        if self._reading.unread and self._warned != self._reading.fingerprint:
            self._warned = self._reading.fingerprint
            log.warning("config_fields_not_used", model=self._name, fields=list(self._reading.unread))
        return self._reading

    def _read_anew(self, name: str, stamp: Stamp | None) -> Reading | ConfigInvalid:
        if self._given is not None:
            return self._given
        if stamp is None:
            return read_nothing(self._name)
        try:
            return read_text((self._directory / name).read_bytes(), self._name, f"{self._name}/{name}")
        except ConfigInvalid as error:
            return error

    def _find(
        self, snapshot: ModelFolder, config: ModelConfig, moment: Moment
    ) -> Iterator[tuple[int, _Found]]:
        for version, folder in snapshot.versions.items():
            try:
                file, broken = choose_file(folder.files, config.platform, config.default_model_filename), ""
            except NoModelFile as error:
                file, broken = "", str(error)
            wait = self._version_wait_s(version, folder, file, snapshot, moment)
            yield version, _Found(folder, file, broken, wait)

    def _version_wait_s(
        self, version: int, folder: Folder, file: str, snapshot: ModelFolder, moment: Moment
    ) -> float:
        known = self._versions[version]
        arrived = moved_in(folder, folder.changed_ns) or moved_in(
            snapshot.beside, max(folder.changed_ns, folder.ctime_ns)
        )
        quiet_s = known.sighting.quiet_s(moment.monotonic_s) if known.sighting else 0.0
        wait = wait_s(quiet_s, self._settle_s, arrived, complete=True)
        if not wait and file and not is_complete(folder.path / file):
            wait = wait_s(quiet_s, self._settle_s, arrived, complete=False)
        if not wait:
            known.differs = False
        elif self._still_as_offered(known, folder):
            return 0.0
        return wait

    def _still_as_offered(self, known: _Version, folder: Folder) -> bool:
        """Whether files that were only touched hold what they held. Read once; then they are waited for."""
        if known.offered is None or known.differs:
            return False
        try:
            known.differs = self._fingerprints.of(folder.path, folder.files) != known.offered.fingerprint
        except ContentMoved:
            known.differs = True
        return not known.differs

    def _of_one_platform(
        self, found: Mapping[int, _Found], config: ModelConfig
    ) -> tuple[dict[int, _Found], ModelConfig]:
        """Where the configuration does not name the platform, the highest version at rest does, for all.

        While none is at rest, it stays the one that it was.
        """
        if config.platform is not None:
            return dict(found), config
        agreed = dict(found)
        at_rest = [version for version, one in found.items() if one.file and not one.wait_s]
        if at_rest:
            teller = found[max(at_rest)]
            self._platform = platform_of_file(teller.file)
            for version, one in found.items():
                if one.file and platform_of_file(one.file) is not self._platform:
                    why = f"{one.file} is for another platform than {teller.file} of version {max(at_rest)}"
                    agreed[version] = replace(one, file="", broken=why)
        if self._platform is None:
            return agreed, config
        return agreed, replace(config, platform=self._platform, backend=_BACKEND_OF[self._platform])

    def _missed(self, snapshot: ModelFolder, moment: Moment) -> dict[int, float]:
        """Versions that were offered and whose folder has just gone, and how long to wait for them.

        Replacing a folder takes two renames; between them the version is not deleted, only not there.
        """
        waits = {}
        for version in sorted(self._versions.keys() - snapshot.versions.keys()):
            known = self._versions[version]
            known.gone_since_s = moment.monotonic_s if known.gone_since_s is None else known.gone_since_s
            wait = known.gone_since_s + self._settle_s - moment.monotonic_s
            if known.offered is None or wait <= 0:
                del self._versions[version]
            else:
                waits[version] = wait
        return waits

    def _offer_of(
        self, snapshot: ModelFolder, config: ModelConfig, found: Mapping[int, _Found], missed: frozenset[int]
    ) -> ModelOffer:
        restless = frozenset(version for version, one in found.items() if one.wait_s > 0) | missed
        broken = {version: one.broken for version, one in found.items() if one.broken}
        broken |= snapshot.unreadable
        broken = {version: why for version, why in sorted(broken.items()) if version not in restless}
        offered = frozenset(version for version, known in self._versions.items() if known.offered is not None)
        good = (found.keys() - restless - broken.keys()) | (restless & offered)
        chosen = config.version_policy.choose(frozenset(good))
        versions = {}
        for version in sorted(chosen - restless):
            try:
                versions[version] = self._version_offer(version, found[version].folder, found[version].file)
            except ContentMoved:
                restless |= {version}
        for version, known in self._versions.items():
            known.offered = versions.get(version, known.offered if version in chosen & restless else None)
        return ModelOffer(
            name=self._name,
            directory=self._directory,
            config=config,
            versions=versions,
            unsettled=restless & (chosen | config.version_policy.choose(frozenset(found) | missed)),
            broken={
                version: why
                for version, why in broken.items()
                if version in config.version_policy.choose(frozenset(good | broken.keys()))
            },
        )

    def _version_offer(self, version: int, folder: Folder, file: str) -> VersionOffer:
        """One version whose files are at rest. Raises `ContentMoved` where they are not."""
        return VersionOffer(
            version=version,
            directory=folder.path,
            fingerprint=self._fingerprints.of(folder.path, folder.files),
            model_file=folder.path / file,
            pre=folder.path / "pre.py" if "pre.py" in folder.files else None,
            post=folder.path / "post.py" if "post.py" in folder.files else None,
            examples=tuple(folder.path / name for name in sorted(folder.files) if _EXAMPLE.fullmatch(name)),
        )


def _label_names(reading: Reading) -> set[str]:
    return {output.label_filename for output in reading.config.outputs} - {""}


def _labels(reading: Reading, beside: Folder) -> dict[str, Stamp]:
    """The label files that the outputs name. Raises `ConfigInvalid` for one that is not there."""
    for at, output in enumerate(reading.config.outputs):
        if output.label_filename and output.label_filename not in beside.files:
            raise reading.invalid(
                f"output[{at}].label_filename",
                f"is '{output.label_filename}', and the model's folder holds no such file",
            )
    return {name: beside.files[name] for name in _label_names(reading)}
