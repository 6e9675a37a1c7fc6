"""Keeps a remote repository on this node, as a folder that the scanner reads like any other.

`poll` lists what there is and says which models need work; `bring` does the work for one of them. Both block,
for any thread, and models do not wait for each other. A store that does not answer takes nothing away: what
is here stays, and goes on being served.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.repository.remote.cache import ObjectCache
from server.repository.remote.download import Downloads
from server.repository.remote.listing import Listing, RemoteModel, models_of
from server.repository.remote.memory import Memory, name_of
from server.repository.remote.mirrored import WHOLE_MODEL, MirroredModel, Surroundings
from server.repository.remote.shelf import Shelf
from server.repository.remote.store import Store, StoreFault
from server.repository.selection import EVERY_MODEL, Selection

log = structlog.get_logger()

NOT_HERE = "is not on this node yet: a load fetches it"


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorFacts:
    """What is shown of a mirror. `polled_s` is when the store last answered, in seconds since the epoch."""

    polled_s: float
    is_reachable: bool
    fetched_bytes: int
    fetch_s: float
    failures: int


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
        self._memory = Memory(cache.folder, url)
        self._downloads = Downloads(store, cache, url)
        self._shelf = Shelf(cache, name_of(url))
        self._at = Surroundings(
            url=url,
            downloads=self._downloads,
            cache=cache,
            shelf=self._shelf,
            settle_s=settle_s,
            config_name=config_name,
            in_use=in_use,
            clock=clock,
            wall_clock=wall_clock,
        )
        self._everything = everything
        self._selection = selection
        self._lock = threading.Lock()
        self._listing: Listing | None = None
        self._remote: Mapping[str, RemoteModel] = {}
        self._models: dict[str, MirroredModel] = {}
        self._polled_s = 0.0
        self._is_reachable = False
        self._why_lost = ""

    @property
    def path(self) -> Path:
        """The folder that the scanner reads."""
        return self._shelf.path

    @property
    def facts(self) -> MirrorFacts:
        models = list(self._models.values())
        return MirrorFacts(
            polled_s=self._polled_s,
            is_reachable=self._is_reachable,
            fetched_bytes=self._downloads.fetched_bytes,
            fetch_s=sum(model.fetch_s for model in models),
            failures=sum(model.failures for model in models),
        )

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
        now_s = self._at.clock()
        here = {name for name, model in list(self._models.items()) if model.is_here}
        listed = self._remote.keys() if self._everything else set()
        return sorted(
            name for name in here | listed if self._model(name).needs_work(self._remote.get(name), now_s)
        )

    def wait_s(self, names: Collection[str] | None = None) -> float | None:
        """How long until a model, one of these `names`, needs work although nothing changes at its source.

        None for never.
        """
        models = [model for name, model in list(self._models.items()) if names is None or name in names]
        dues = [model.due_s for model in models if model.due_s is not None]
        return max(min(dues) - self._at.clock(), 0.0) if dues else None

    def bring(self, name: str, named: frozenset[int] | None = None) -> float | None:
        """Have a model here as it is listed: the `named` versions, or those that its policy chooses.

        What goes wrong becomes a remark, and is tried again after a while. Returns how long something of it
        must still come to rest, in seconds; None where nothing must.
        """
        return self._model(name).bring(self._remote.get(name), named)

    def release(self, name: str) -> None:
        """Nobody wants it on this node any more; its objects may go when room is needed."""
        self._model(name).release()

    def remember(self) -> None:
        """Write down what was found out, for the next process."""
        if self._listing is not None and self._is_reachable:
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
        self._is_reachable, self._polled_s = True, self._at.wall_clock()
        self._take(listing)

    def _unreachable(self, why: str) -> None:
        self._is_reachable = False
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

    def _model(self, name: str) -> MirroredModel:
        with self._lock:
            return self._models.setdefault(name, MirroredModel(name, self._at))
