"""Keeps a remote repository on this node, as a folder that the scanner reads like any other.

`poll` lists what there is and says which models need work; `bring` does the work for one of them. Both block,
for any thread, and models do not wait for each other. A store that does not answer takes nothing away: what
is here stays, and goes on being served.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from server.domain.backoff import BackOff
from server.domain.configuration import VersionPolicy
from server.repository.configuration import read_nothing, read_text
from server.repository.invalid import ConfigInvalid
from server.repository.manifest import NAME, ManifestInvalid, misfit, read_manifest
from server.repository.remote.cache import CacheFull, ObjectCache
from server.repository.remote.download import Downloads
from server.repository.remote.listing import Listing, RemoteFile, RemoteModel, age_s, models_of, seen_of
from server.repository.remote.memory import Memory, name_of
from server.repository.remote.shelf import Placed, Shelf, Sums
from server.repository.remote.store import Store, StoreFault
from server.repository.remote.wish import versions_to_bring, versions_to_keep
from server.repository.selection import EVERY_MODEL, Selection
from server.repository.settling import Sighting, sight, wait_s

log = structlog.get_logger()

NOT_HERE = "is not on this node yet: a load fetches it"
WHOLE_MODEL = 0
"""In place of a version, where a remark is about all of them."""

NO_VERSION = VersionPolicy(latest=None, specific=frozenset())

_BACK_OFF = BackOff()

Hold = Callable[[str], None]
"""Keeps the object of this SHA-256 from being evicted, for as long as a model is worked on."""


@dataclass(slots=True)
class _Model:
    """One model on this node. Changed under its lock alone.

    is_here    its folder is
    chosen     the versions that were brought because they are wished; others are here while they serve
    made_of    what was listed when it was last brought; None before
    due_s      of the monotonic clock: when to look again although nothing seems to change
    faults     version -> why it could not be had, as far as the work under way has come
    remarks    the same, as the last work left it: what is shown
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    is_here: bool = False
    beside: Placed = field(default_factory=dict)
    versions: dict[int, Placed] = field(default_factory=dict)
    chosen: frozenset[int] = frozenset()
    made_of: object = None
    sightings: dict[int, Sighting] = field(default_factory=dict)
    due_s: float | None = None
    failures: int = 0
    faults: dict[int, str] = field(default_factory=dict)
    remarks: Mapping[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class MirrorFacts:
    """What is shown of a mirror. `polled_s` is when the store last answered, in seconds since the epoch."""

    polled_s: float = 0.0
    is_reachable: bool = False
    fetch_s: float = 0.0
    fetched_bytes: int = 0
    failures: int = 0


class Mirror:
    """One remote repository.

    everything   bring whatever is listed; else only what `bring` is called for
    in_use       the versions of a model that serve now; may be asked from any thread
    """

    def __init__(
        self,
        url: str,
        store: Store,
        cache: ObjectCache,
        *,
        settle_s: float,
        everything: bool = True,
        selection: Selection = EVERY_MODEL,
        config_name: str = "",
        in_use: Callable[[str], Collection[int]] = lambda model: (),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises `NoHardLinks`."""
        self.url = url
        self._store = store
        self._cache = cache
        self._downloads = Downloads(store, cache, url)
        self._memory = Memory(cache.folder, url)
        self._shelf = Shelf(cache, name_of(url))
        self._settle_s = settle_s
        self._everything = everything
        self._selection = selection
        self._config_name = config_name
        self._in_use = in_use
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._facts = MirrorFacts()
        self._listing: Listing | None = None
        self._remote: Mapping[str, RemoteModel] = {}
        self._models: dict[str, _Model] = {}
        self._why_lost = ""

    @property
    def path(self) -> Path:
        """The folder that the scanner reads."""
        return self._shelf.path

    @property
    def facts(self) -> MirrorFacts:
        self._facts.fetched_bytes = self._downloads.fetched_bytes
        return self._facts

    @property
    def has_listing(self) -> bool:
        """Whether it is known what there is: from the store, or from an earlier process."""
        return self._listing is not None

    def close(self) -> None:
        """Let downloads end with their next piece. What is here stays for whoever still reads it."""
        self._downloads.stop()
        self._shelf.close()

    def poll(self) -> list[str]:
        """List the repository; the models that need work by now."""
        try:
            listing = self._store.list()
            if not listing and self._listing:
                raise StoreFault("it lists nothing any more, and what is here is kept")
            self._answered(listing)
        except StoreFault as fault:
            self._unreachable(str(fault))
        now_s = self._clock()
        here = {name for name, model in list(self._models.items()) if model.is_here}
        listed = self._remote.keys() if self._everything else set()
        return sorted(name for name in here | listed if self._needs_work(name, now_s))

    def wait_s(self) -> float | None:
        """How long until a model needs work although nothing changes at its source; None for never."""
        dues = [model.due_s for model in list(self._models.values()) if model.due_s is not None]
        return max(min(dues) - self._clock(), 0.0) if dues else None

    def bring(self, name: str, named: frozenset[int] | None = None) -> float | None:
        """Have a model here as it is listed: the `named` versions, or those that its policy chooses.

        What goes wrong becomes a remark, and is tried again after a while. Returns how long something of it
        must still come to rest, in seconds; None where nothing must.
        """
        model = self._model(name)
        with model.lock:
            remote = self._remote.get(name)
            began = time.monotonic()
            model.due_s = None
            model.faults = {}
            try:
                if remote is None:
                    self._take_away(name, model)
                else:
                    with self._shelf.holding() as hold:
                        self._place(name, remote, model, named, hold)
            except (StoreFault, CacheFull, OSError) as error:
                self._remark(name, model, WHOLE_MODEL, error)
            except Exception as error:  # our own fault, and still no reason to lose the other models
                log.exception("model_not_mirrored", repository=self.url, model=name)
                self._remark(name, model, WHOLE_MODEL, error)
            self._facts.fetch_s += time.monotonic() - began
            model.remarks = model.faults
            model.failures = model.failures + 1 if model.faults else 0
            if model.faults:
                model.due_s = self._clock() + _BACK_OFF.wait_s(model.failures, chance=0.5)
                return None
            return None if model.due_s is None else max(model.due_s - self._clock(), 0.0)

    def release(self, name: str) -> None:
        """Nobody wants it on this node any more; its objects may go when room is needed."""
        model = self._model(name)
        with model.lock:
            self._take_away(name, model)

    def remember(self) -> None:
        """Write down what was found out, for the next process."""
        if self._listing is not None and self._facts.is_reachable:
            self._memory.write(self._listing, self._downloads.knows)

    def remarks(self) -> dict[str, dict[int, str]]:
        """Model -> version -> why it is not here, in a sentence."""
        told = {name: dict(model.remarks) for name, model in list(self._models.items()) if model.remarks}
        if not self._everything:
            for name in self._remote:
                if name not in told and not (name in self._models and self._models[name].is_here):
                    told[name] = {WHOLE_MODEL: NOT_HERE}
        return told

    # What the store says.

    def _answered(self, listing: Listing) -> None:
        if self._listing is None:
            self._recall()
        if self._why_lost:
            log.info("repository_back", repository=self.url)
        self._why_lost = ""
        self._facts.is_reachable, self._facts.polled_s = True, self._wall_clock()
        self._take(listing)

    def _unreachable(self, why: str) -> None:
        self._facts.is_reachable = False
        if why != self._why_lost:
            log.warning("repository_unreachable", repository=self.url, reason=why, kept=len(self._remote))
        self._why_lost = why
        if self._listing is None and (known := self._memory.read_listing()):
            self._recall()
            self._take(known)

    def _recall(self) -> None:
        for path, tag, sha256 in self._memory.read_sums():
            self._downloads.learn(path, tag, sha256)

    def _take(self, listing: Listing) -> None:
        if listing is not self._listing:
            found = models_of(listing).items()
            self._remote = {name: model for name, model in found if self._selection.admits(name)}
            self._downloads.forget_all_but({(path, file.tag) for path, file in listing.items()})
            self._listing = listing

    def _needs_work(self, name: str, now_s: float) -> bool:
        model, remote = self._models.get(name), self._remote.get(name)
        if model is None or remote is None:
            return True
        if model.made_of != _content(remote):
            return True
        if model.due_s is not None:
            return now_s >= model.due_s
        retired = model.versions.keys() - model.chosen
        return not retired <= frozenset(self._in_use(name)) or not self._shelf.is_intact(
            name, model.beside, model.versions
        )

    # The work on one model, under its lock.

    def _model(self, name: str) -> _Model:
        with self._lock:
            return self._models.setdefault(name, _Model())

    def _place(
        self, name: str, remote: RemoteModel, model: _Model, named: frozenset[int] | None, hold: Hold
    ) -> None:
        model.made_of = _content(remote)
        waits = self._waits(remote, model)
        if not model.is_here and WHOLE_MODEL in waits:  # its configuration may come last
            model.due_s = self._clock() + waits[WHOLE_MODEL]
            return
        beside = {path: self._have(f"{name}/{path}", file, hold) for path, file in remote.beside.items()}
        policy = self._policy(name, beside, named)
        if policy is None:
            chosen, versions = model.chosen, {}
        else:
            versions = self._bring_versions(name, remote, model, policy, waits, hold)
            chosen = frozenset(versions)
        if model.is_here:
            self._put(name, model, beside, versions)
        elif versions or not (model.faults or waits):
            model.beside, model.versions = self._shelf.put_model(name, beside, versions)
            model.is_here = True
        model.chosen = chosen
        kept = versions_to_keep(
            remote.versions, model.versions, chosen | waits.keys(), frozenset(self._in_use(name))
        )
        for version in model.versions.keys() - kept:
            self._shelf.take_away(name, version)
            del model.versions[version]

    def _put(self, name: str, model: _Model, beside: Sums, versions: Mapping[int, Sums]) -> None:
        for version, sums in versions.items():
            placed = model.versions.get(version, {})
            if _sums(placed) != sums or not self._shelf.is_intact(name, {}, {version: placed}):
                model.versions[version] = self._shelf.put_version(name, version, sums)
        if _sums(model.beside) != beside or not self._shelf.is_intact(name, model.beside, {}):
            model.beside = self._shelf.put_beside(name, beside, model.beside)

    def _waits(self, remote: RemoteModel, model: _Model) -> dict[int, float]:
        """How long each version, and what is beside them, must look the same still; only what must at all."""
        now_s, epoch_s = self._clock(), self._wall_clock()
        waits, sightings = {}, {}
        for key, files in {WHOLE_MODEL: remote.beside, **remote.versions}.items():
            if all(file.sha256 for file in files.values()):  # an index is written once all is there
                continue
            age = age_s(files, epoch_s)
            sightings[key] = sight(model.sightings.get(key), seen_of(files), now_s, age)
            wait = wait_s(sightings[key].quiet_s(now_s), self._settle_s, arrived_whole=False, complete=True)
            if wait > 0:
                waits[key] = wait
        model.sightings = sightings
        return waits

    def _policy(self, name: str, beside: Sums, named: frozenset[int] | None) -> VersionPolicy | None:
        """Which versions are wished; None where the configuration cannot be read, which the scanner tells."""
        file = f"configs/{self._config_name}.pbtxt"
        file = file if self._config_name and file in beside else "config.pbtxt"
        try:
            if file in beside:
                config = read_text(self._cache.content(beside[file]), name, f"{name}/{file}").config
            else:
                config = read_nothing(name).config
        except ConfigInvalid:
            return None
        if not config.is_enabled:
            return NO_VERSION
        return config.version_policy if named is None else VersionPolicy(latest=None, specific=named)

    def _bring_versions(
        self,
        name: str,
        remote: RemoteModel,
        model: _Model,
        policy: VersionPolicy,
        waits: Mapping[int, float],
        hold: Hold,
    ) -> dict[int, Sums]:
        """The versions that are wished and could be had, each with the SHA-256 of its files."""
        sealed = {
            version: sums
            for version in policy.choose(frozenset(remote.versions))
            if (sums := self._manifest(name, version, remote.versions[version], hold)) is not None
        }
        settled = [version for version in remote.versions if version in sealed or version not in waits]
        brought: dict[int, Sums] = {}
        for version in sorted(versions_to_bring(remote.versions, settled, model.versions, policy)):
            likely = sealed.get(version, {})
            try:
                brought[version] = {
                    path: self._have(f"{name}/{version}/{path}", file, hold, likely.get(path, ""))
                    for path, file in remote.versions[version].items()
                }
            except (StoreFault, CacheFull, OSError) as error:
                self._remark(name, model, version, error)
        pending = [wait for version, wait in waits.items() if version not in settled]
        model.due_s = self._clock() + min(pending) if pending else None
        return brought

    def _have(self, path: str, file: RemoteFile, hold: Hold, likely: str = "") -> str:
        """Have one object here, and keep it from being evicted while the others come; its SHA-256."""
        sha256 = self._downloads.bring(path, file, likely)
        try:
            hold(sha256)
        except FileNotFoundError:  # evicted between the two, for somebody else
            sha256 = self._downloads.bring(path, file, likely)
            hold(sha256)
        return sha256

    def _manifest(self, name: str, version: int, files: Listing, hold: Hold) -> Sums | None:
        """What the version's manifest says of files that are all listed with their sizes; else None."""
        if NAME not in files:
            return None
        try:
            sha256 = self._have(f"{name}/{version}/{NAME}", files[NAME], hold)
            manifest = read_manifest(self._cache.content(sha256))
        except (StoreFault, CacheFull, OSError, ManifestInvalid):  # told where the version itself is brought
            return None
        if manifest is None or misfit(manifest, {path: file.size for path, file in files.items()}):
            return None
        return {path: entry.sha256 for path, entry in manifest.items()}

    def _take_away(self, name: str, model: _Model) -> None:
        if model.is_here:
            self._shelf.take_away(name)
        model.is_here, model.beside, model.versions = False, {}, {}
        model.chosen, model.made_of, model.sightings, model.remarks = frozenset(), None, {}, {}

    def _remark(self, name: str, model: _Model, version: int, error: Exception) -> None:
        told = isinstance(error, (StoreFault, CacheFull))
        said = error.strerror if isinstance(error, OSError) else str(error) if told else type(error).__name__
        why = f"could not be fetched: {said}"
        model.faults[version] = why
        self._facts.failures += 1
        log.warning("fetch_failed", repository=self.url, model=name, version=version or None, reason=why)


def _content(remote: RemoteModel) -> object:
    return seen_of(remote.beside), {version: seen_of(files) for version, files in remote.versions.items()}


def _sums(placed: Placed) -> Sums:
    return {path: sha256 for path, (sha256, _) in placed.items()}
