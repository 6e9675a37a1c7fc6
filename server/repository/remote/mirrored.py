"""One model of a remote repository on this node: brings what is wished of it, and lets go what is not.

What is wished is decided over a listing by `wish`, as it is over folders; this carries it out, one caller at
a time. What goes wrong becomes a remark, and the rest of the model stays as it is.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from server.domain.backoff import BackOff
from server.domain.configuration import VersionPolicy
from server.repository.configuration import read_nothing, read_text
from server.repository.invalid import ConfigInvalid
from server.repository.manifest import NAME, ManifestInvalid, misfit, read_manifest
from server.repository.remote.cache import CacheFull, ObjectCache
from server.repository.remote.download import Downloads
from server.repository.remote.listing import Listing, RemoteFile, RemoteModel, age_s, seen_of
from server.repository.remote.shelf import Placed, Shelf, Sums
from server.repository.remote.store import StoreFault
from server.repository.remote.wish import versions_to_bring, versions_to_keep
from server.repository.settling import Sighting, sight, wait_s

log = structlog.get_logger()

WHOLE_MODEL = 0
"""In place of a version, where something is about all of them."""

NO_VERSION = VersionPolicy(latest=None, specific=frozenset())

_BACK_OFF = BackOff()

Hold = Callable[[str], None]
"""Keeps the object of this SHA-256 from being evicted, for as long as a model is worked on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all models of one repository share.

    in_use   the versions of a model that serve now; may be asked from any thread
    """

    url: str
    downloads: Downloads
    cache: ObjectCache
    shelf: Shelf
    settle_s: float
    config_name: str
    in_use: Callable[[str], Collection[int]]
    clock: Callable[[], float]
    wall_clock: Callable[[], float]


class MirroredModel:
    """
    is_here      its folder is
    due_s        of the monotonic clock: when to look again although nothing seems to change; None for never
    remarks      version -> why it is not here, as the last work left it
    fetch_s      spent on it so far
    failures     so far
    """

    def __init__(self, name: str, at: Surroundings) -> None:
        self.is_here = False
        self.due_s: float | None = None
        self.remarks: Mapping[int, str] = {}
        self.fetch_s = 0.0
        self.failures = 0
        self._name = name
        self._at = at
        self._lock = threading.Lock()
        self._beside: Placed = {}
        self._versions: dict[int, Placed] = {}
        self._chosen: frozenset[int] = frozenset()
        self._made_of: object = None
        self._sightings: dict[int, Sighting] = {}
        self._faults: dict[int, str] = {}
        self._failed_in_a_row = 0

    def needs_work(self, remote: RemoteModel | None, now_s: float) -> bool:
        """Whether `bring` would find anything to do."""
        if remote is None or self._made_of != _content(remote):
            return True
        if self.due_s is not None:
            return now_s >= self.due_s
        retired = self._versions.keys() - self._chosen
        return not retired <= frozenset(self._at.in_use(self._name)) or not self._at.shelf.is_intact(
            self._name, self._beside, self._versions
        )

    def bring(self, remote: RemoteModel | None, named: frozenset[int] | None = None) -> float | None:
        """Have it here as it is listed; None is for one that is listed no more.

        named   the versions to have; None for those that its policy chooses

        Returns how long something of it must still come to rest, in seconds; None where nothing must.
        """
        with self._lock:
            began = time.monotonic()
            self.due_s = None
            self._faults = {}
            try:
                if remote is None:
                    self._take_away()
                else:
                    with self._at.shelf.holding() as hold:
                        self._place(remote, named, hold)
            except (StoreFault, CacheFull, OSError) as error:
                self._remark(WHOLE_MODEL, error)
            except Exception as error:  # our own fault, and still no reason to lose the other models
                log.exception("model_not_mirrored", repository=self._at.url, model=self._name)
                self._remark(WHOLE_MODEL, error)
            self.fetch_s += time.monotonic() - began
            self.remarks = self._faults
            self._failed_in_a_row = self._failed_in_a_row + 1 if self._faults else 0
            if self._faults:
                self.due_s = self._at.clock() + _BACK_OFF.wait_s(self._failed_in_a_row, chance=0.5)
                return None
            return None if self.due_s is None else max(self.due_s - self._at.clock(), 0.0)

    def release(self) -> None:
        """Nobody wants it on this node any more; its objects may go when room is needed."""
        with self._lock:
            self._take_away()

    def _place(self, remote: RemoteModel, named: frozenset[int] | None, hold: Hold) -> None:
        self._made_of = _content(remote)
        waits = self._waits(remote)
        if not self.is_here and WHOLE_MODEL in waits:  # its configuration may come last
            self.due_s = self._at.clock() + waits[WHOLE_MODEL]
            return
        beside = _sums(self._beside)
        if not (self.is_here and WHOLE_MODEL in waits):
            beside = {path: self._have(path, file, hold) for path, file in remote.beside.items()}
        policy = self._policy(beside, named)
        if policy is None:
            chosen, versions = self._chosen, {}
        else:
            versions = self._bring_versions(remote, policy, waits, hold)
            chosen = frozenset(versions)
        if self.is_here:
            self._put(beside, versions)
        elif versions or not (self._faults or waits):
            self._beside, self._versions = self._at.shelf.put_model(self._name, beside, versions)
            self.is_here = True
        self._chosen = chosen
        kept = versions_to_keep(
            remote.versions, self._versions, chosen | waits.keys(), frozenset(self._at.in_use(self._name))
        )
        for version in self._versions.keys() - kept:
            self._at.shelf.take_away(self._name, version)
            del self._versions[version]

    def _put(self, beside: Sums, versions: Mapping[int, Sums]) -> None:
        for version, sums in versions.items():
            placed = self._versions.get(version, {})
            if _sums(placed) != sums or not self._at.shelf.is_intact(self._name, {}, {version: placed}):
                self._versions[version] = self._at.shelf.put_version(self._name, version, sums)
        if _sums(self._beside) != beside or not self._at.shelf.is_intact(self._name, self._beside, {}):
            self._beside = self._at.shelf.put_beside(self._name, beside, self._beside)

    def _waits(self, remote: RemoteModel) -> dict[int, float]:
        """How long each version, and what is beside them, must look the same still; only what must at all."""
        now_s, epoch_s = self._at.clock(), self._at.wall_clock()
        waits, sightings = {}, {}
        for key, files in {WHOLE_MODEL: remote.beside, **remote.versions}.items():
            if all(file.sha256 for file in files.values()):  # an index is written once all is there
                continue
            age = age_s(files, epoch_s)
            sightings[key] = sight(self._sightings.get(key), seen_of(files), now_s, age)
            wait = wait_s(
                sightings[key].quiet_s(now_s), self._at.settle_s, arrived_whole=False, complete=True
            )
            if wait > 0:
                waits[key] = wait
        self._sightings = sightings
        return waits

    def _policy(self, beside: Sums, named: frozenset[int] | None) -> VersionPolicy | None:
        """Which versions are wished; None where the configuration cannot be read, which the scanner tells."""
        file = f"configs/{self._at.config_name}.pbtxt"
        file = file if self._at.config_name and file in beside else "config.pbtxt"
        try:
            if file in beside:
                content = self._at.cache.content(beside[file])
                config = read_text(content, self._name, f"{self._name}/{file}").config
            else:
                config = read_nothing(self._name).config
        except ConfigInvalid:
            return None
        if not config.is_enabled:
            return NO_VERSION
        return config.version_policy if named is None else VersionPolicy(latest=None, specific=named)

    def _bring_versions(
        self, remote: RemoteModel, policy: VersionPolicy, waits: Mapping[int, float], hold: Hold
    ) -> dict[int, Sums]:
        """The versions that are wished and could be had, each with the SHA-256 of its files."""
        sealed = {
            version: sums
            for version in policy.choose(frozenset(remote.versions))
            if (sums := self._manifest(version, remote.versions[version], hold)) is not None
        }
        settled = [version for version in remote.versions if version in sealed or version not in waits]
        brought: dict[int, Sums] = {}
        for version in sorted(versions_to_bring(remote.versions, settled, self._versions, policy)):
            likely = sealed.get(version, {})
            try:
                brought[version] = {
                    path: self._have(f"{version}/{path}", file, hold, likely.get(path, ""))
                    for path, file in remote.versions[version].items()
                }
            except (StoreFault, CacheFull, OSError) as error:
                self._remark(version, error)
        pending = [wait for version, wait in waits.items() if version not in settled]
        self.due_s = self._at.clock() + min(pending) if pending else None
        return brought

    def _have(self, path: str, file: RemoteFile, hold: Hold, likely: str = "") -> str:
        """Have one object here, and keep it from being evicted while the others come; its SHA-256."""
        path = f"{self._name}/{path}"
        sha256 = self._at.downloads.bring(path, file, likely)
        try:
            hold(sha256)
        except FileNotFoundError:  # evicted between the two, for somebody else
            sha256 = self._at.downloads.bring(path, file, likely)
            hold(sha256)
        return sha256

    def _manifest(self, version: int, files: Listing, hold: Hold) -> Sums | None:
        """What the version's manifest says of files that are all listed with their sizes; else None."""
        if NAME not in files:
            return None
        try:
            sha256 = self._have(f"{version}/{NAME}", files[NAME], hold)
            manifest = read_manifest(self._at.cache.content(sha256))
        except (StoreFault, CacheFull, OSError, ManifestInvalid):  # told where the version itself is brought
            return None
        if manifest is None or misfit(manifest, {path: file.size for path, file in files.items()}):
            return None
        return {path: entry.sha256 for path, entry in manifest.items()}

    def _take_away(self) -> None:
        if self.is_here:
            self._at.shelf.take_away(self._name)
        self.is_here, self._beside, self._versions = False, {}, {}
        self._chosen, self._made_of, self._sightings, self.remarks = frozenset(), None, {}, {}

    def _remark(self, version: int, error: Exception) -> None:
        told = isinstance(error, (StoreFault, CacheFull))
        said = error.strerror if isinstance(error, OSError) else str(error) if told else type(error).__name__
        why = f"could not be fetched: {said}"
        self._faults[version] = why
        self.failures += 1
        facts = {"repository": self._at.url, "model": self._name, "version": version or None}
        log.warning("fetch_failed", **facts, reason=why)


def _content(remote: RemoteModel) -> object:
    return seen_of(remote.beside), {version: seen_of(files) for version, files in remote.versions.items()}


def _sums(placed: Placed) -> Sums:
    return {path: sha256 for path, (sha256, _) in placed.items()}
