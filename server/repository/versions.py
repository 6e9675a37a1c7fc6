"""One model's version folders over time: which of them can be offered, and which must wait or cannot be.

A version that is new and not at rest, or that has no model file, never takes the place of one that is
good: the version policy chooses among those that could be served, or are served already.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from server.domain.configuration import ModelConfig, Platform, VersionPolicy
from server.domain.offer import VersionOffer
from server.repository.container import is_complete
from server.repository.content import fingerprint_of
from server.repository.fingerprint import ContentMoved, Fingerprints
from server.repository.modelfile import NoModelFile, choose_file, platform_of_file
from server.repository.seal import Demand, Seal, SealBroken
from server.repository.settling import Moment, Sighting, moved_in, sight, wait_s
from server.repository.snapshot import Folder, ModelFolder

_EXAMPLE = re.compile(r"examples/[^/]+\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a model offers at one moment; the fields are those of `ModelOffer`.

    platform   as configured, or as the files tell; None while no file does
    wait_s     when to look again although nothing seems to change; None for never
    """

    platform: Platform | None
    versions: Mapping[int, VersionOffer]
    unsettled: frozenset[int]
    broken: Mapping[int, str]
    wait_s: float | None


@dataclass(slots=True)
class _Known:
    """What is remembered of one version folder.

    offered        what the last offer held of it, or None
    seal           its manifest
    unsealed       its files were read and are not what the manifest says, so they need not be read again
                   before they are at rest
    differs        its content is known to be other than what was offered, so it need not be read again
                   before it is at rest
    gone_since_s   of the monotonic clock, when its folder was first missed
    """

    seal: Seal
    unsealed: bool = False
    sighting: Sighting | None = None
    offered: VersionOffer | None = None
    differs: bool = False
    gone_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """One version folder at this moment: its model file or why there is none, and how long it must wait."""

    folder: Folder
    file: str
    broken: str
    wait_s: float


class Versions:
    """The version folders of one model, looked at by one caller at a time."""

    def __init__(self, settle_s: float, fingerprints: Fingerprints, demand: Demand) -> None:
        self._settle_s = settle_s
        self._demand = demand
        self._fingerprints = fingerprints
        self._known: dict[int, _Known] = {}
        self._platform: Platform | None = None

    def see(self, snapshot: ModelFolder, moment: Moment) -> None:
        """Note what lies there, so that its time of rest begins."""
        for version, folder in snapshot.versions.items():
            if version not in self._known:
                self._known[version] = _Known(Seal(self._demand, self._fingerprints))
            known = self._known[version]
            age_s = moment.age_s(max(folder.changed_ns, folder.mtime_ns))
            known.sighting = sight(known.sighting, folder.stamps, moment.monotonic_s, age_s)
            known.gone_since_s = None

    def choose(
        self, snapshot: ModelFolder, config: ModelConfig, policy: VersionPolicy, moment: Moment
    ) -> Choice:
        """Decide over what was last seen. `policy` is the configured one, or stands in its place."""
        missed = self._missed(snapshot, moment)
        found = {
            version: self._find(self._known[version], folder, snapshot.beside, config, moment)
            for version, folder in snapshot.versions.items()
        }
        self._hold_to_manifests(found, policy, moment)
        platform = config.platform or self._told_platform(found)
        if config.platform is None:
            found = {version: _agreeing(one, platform) for version, one in found.items()}
        restless = frozenset(version for version, one in found.items() if one.wait_s > 0) | missed.keys()
        faulty = dict(snapshot.unreadable) | {
            version: one.broken for version, one in found.items() if one.broken
        }
        faulty = {version: why for version, why in sorted(faulty.items()) if version not in restless}
        served = frozenset(version for version, known in self._known.items() if known.offered)
        good = (found.keys() - restless - faulty.keys()) | (restless & served)
        chosen = policy.choose(frozenset(good))
        versions = self._offers(found, chosen - restless)
        moved = chosen - restless - versions.keys()
        self._remember(versions, kept=chosen - versions.keys())
        wanted = chosen | policy.choose(frozenset(found) | missed.keys())
        named = policy.choose(frozenset(good | faulty.keys()))
        waits = [one.wait_s for one in found.values() if one.wait_s > 0] + list(missed.values())
        return Choice(
            platform=platform,
            versions=versions,
            unsettled=(restless | moved) & wanted,
            broken={version: why for version, why in faulty.items() if version in named},
            wait_s=min(waits + [self._settle_s] * bool(moved), default=None),
        )

    def _find(
        self, known: _Known, folder: Folder, beside: Folder, config: ModelConfig, moment: Moment
    ) -> _Found:
        try:
            file, broken = _file(folder, config), ""
        except NoModelFile as error:
            file, broken = "", str(error)
        arrived = moved_in(folder, folder.changed_ns)
        arrived |= moved_in(beside, max(folder.changed_ns, folder.ctime_ns))
        quiet_s = known.sighting.quiet_s(moment.monotonic_s) if known.sighting else 0.0
        wait = wait_s(quiet_s, self._settle_s, arrived, complete=True)
        if not wait and file and not is_complete(folder.path / file):
            wait = wait_s(quiet_s, self._settle_s, arrived, complete=False)
        if not wait:
            known.differs = False
        elif self._still_as_offered(known, folder):
            wait = 0.0
        return _Found(folder, file, broken, wait)

    def _hold_to_manifests(self, found: dict[int, _Found], policy: VersionPolicy, moment: Moment) -> None:
        """Take up at once what is as its manifest says, and refuse what has come to rest and is not.

        Only what would be served is read: of all versions, those that the policy chooses, and where some of
        these are no good, those that it chooses then.
        """
        checked: set[int] = set()
        while True:
            good = frozenset(version for version, one in found.items() if not one.broken)
            due = policy.choose(good) - checked
            if not due:
                return
            for version in due:
                found[version] = self._held(self._known[version], found[version])
            checked |= due

    def _held(self, known: _Known, one: _Found) -> _Found:
        at_rest = one.wait_s <= 0
        if known.unsealed and not at_rest:
            return one
        try:
            if not known.seal.is_set(one.folder):
                return one
            known.seal.check(one.folder)
        except ContentMoved:
            return replace(one, wait_s=one.wait_s or self._settle_s)
        except SealBroken as error:
            known.unsealed = error.was_read
            return replace(one, broken=str(error)) if at_rest else one
        known.unsealed = False
        return replace(one, wait_s=0.0)

    def _still_as_offered(self, known: _Known, folder: Folder) -> bool:
        """Whether files that were only touched hold what they held. Read once; then they are waited for."""
        if known.offered is None or known.differs:
            return False
        try:
            known.differs = self._fingerprint(folder) != known.offered.fingerprint
        except ContentMoved:
            known.differs = True
        return not known.differs

    def _fingerprint(self, folder: Folder) -> str:
        """Raises `ContentMoved`."""
        return fingerprint_of(folder, self._fingerprints)

    def _told_platform(self, found: Mapping[int, _Found]) -> Platform | None:
        """What the highest version at rest tells, for all; while none is at rest, what was told last."""
        at_rest = [version for version, one in found.items() if one.file and not one.wait_s]
        if at_rest:
            self._platform = platform_of_file(found[max(at_rest)].file)
        return self._platform

    def _missed(self, snapshot: ModelFolder, moment: Moment) -> dict[int, float]:
        """Versions that were offered and whose folder has just gone, and how long to wait for them.

        Replacing a folder takes two renames; between them the version is not deleted, only not there.
        """
        waits = {}
        for version in sorted(self._known.keys() - snapshot.versions.keys()):
            known = self._known[version]
            known.gone_since_s = moment.monotonic_s if known.gone_since_s is None else known.gone_since_s
            wait = known.gone_since_s + self._settle_s - moment.monotonic_s
            if known.offered is None or wait <= 0:
                del self._known[version]
            else:
                waits[version] = wait
        return waits

    def _offers(self, found: Mapping[int, _Found], chosen: frozenset[int]) -> dict[int, VersionOffer]:
        """Those of the chosen whose files stayed as they are while they were read."""
        offers = {}
        for version in sorted(chosen):
            folder, file = found[version].folder, found[version].file
            directory = folder.path
            try:
                fingerprint = self._fingerprint(folder)
            except ContentMoved:
                continue
            offers[version] = VersionOffer(
                version=version,
                directory=directory,
                fingerprint=fingerprint,
                model_file=directory / file if file else None,
                pre=directory / "pre.py" if "pre.py" in folder.files else None,
                post=directory / "post.py" if "post.py" in folder.files else None,
                examples=tuple(directory / name for name in sorted(folder.files) if _EXAMPLE.fullmatch(name)),
                stamps=folder.files,
            )
        return offers

    def _remember(self, versions: Mapping[int, VersionOffer], kept: frozenset[int]) -> None:
        for version, known in self._known.items():
            known.offered = versions.get(version, known.offered if version in kept else None)


def _file(folder: Folder, config: ModelConfig) -> str:
    """The model file; empty for an ensemble and for code around a model elsewhere. Raises `NoModelFile`."""
    if config.platform is Platform.REMOTE:
        if not {"pre.py", "post.py"} & set(folder.files):
            raise NoModelFile(
                "the version folder holds neither pre.py nor post.py: there is nothing to do here"
            )
        return ""
    if config.ensemble is None:
        return choose_file(folder.files, config.platform, config.default_model_filename)
    for name in ("pre.py", "post.py"):
        if name in folder.files:
            raise NoModelFile(
                f"the version folder holds {name}, which an ensemble does not run; make it a step"
            )
    return ""


def _agreeing(one: _Found, platform: Platform | None) -> _Found:
    if not one.file or platform_of_file(one.file) is platform:
        return one
    why = f"{one.file} is not for {platform}, the platform of the highest version"
    return replace(one, file="", broken=why)
