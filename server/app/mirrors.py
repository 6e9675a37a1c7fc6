"""The remote repositories of one process: opened, followed, and asked for single models.

Each is followed by a task of its own; what blocks is done on threads of ours. In mode poll they are listed
again and again, in mode none once, in mode explicit when a load asks for a model: only that one is brought.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any
from weakref import WeakValueDictionary

from server.domain.backoff import BackOff
from server.lifecycle.manager import Manager
from server.observe.metrics import MirrorMeasured
from server.repository.remote.address import Address, AddressRefused, read_address
from server.repository.remote.bucket import BucketStore
from server.repository.remote.cache import ObjectCache
from server.repository.remote.mirror import Mirror
from server.repository.remote.shelf import NoHardLinks
from server.repository.remote.store import Store
from server.repository.remote.web import WebStore
from server.repository.scanner import Remarks
from server.repository.selection import Selection
from server.settings import Settings

_UNTIL_FIRST = BackOff(first_s=0.5, most_s=15)
"""How often a repository is asked that has never answered: nothing can be served before it does."""


SETTLE_PATIENCE_S = 30.0
"""How long a start waits for objects that are still being written, or could not be fetched."""


class MirrorsRefused(Exception):
    """A remote repository that cannot be followed as the operator asks. `str(error)` is a sentence."""


class Mirrors:
    """None of them, for most servers. Whoever opened them closes them.

    begun   set once every repository was listed, and what is wanted of it at the start was brought
    """

    def __init__(
        self,
        mirrors: Mapping[str, Mirror],
        fetchers: ThreadPoolExecutor,
        listers: ThreadPoolExecutor,
        *,
        poll_s: float | None,
        at_start: Collection[str] | None,
    ) -> None:
        """
        mirrors    by their addresses
        fetchers   threads that bring models: so many at once
        listers    threads for what is shorter
        poll_s     between two listings; None to list once
        at_start   the models to bring at the start; None for whatever there is
        """
        self.begun = asyncio.Event()
        self._mirrors = mirrors
        self._fetchers = fetchers
        self._listers = listers
        self._poll_s = poll_s
        self._at_start = at_start
        self._held: list[str] = []
        self._changing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def folder_of(self, place: Path | str) -> Path:
        """Where the scanner finds a repository."""
        return place if isinstance(place, Path) else self._mirrors[place].path

    @property
    def remarks(self) -> Mapping[Path, Remarks]:
        return {mirror.path: mirror.remarks for mirror in self._mirrors.values()}

    def measured(self) -> Sequence[MirrorMeasured]:
        return [
            MirrorMeasured(
                url,
                mirror.facts.polled_s,
                mirror.facts.is_reachable,
                mirror.facts.fetched_bytes,
                mirror.facts.fetch_s,
                mirror.facts.failures,
            )
            for url, mirror in self._mirrors.items()
        ]

    async def follow(self) -> None:
        """Bring what is wanted at the start, set `begun`, and go on where there is something to follow."""
        async with asyncio.TaskGroup() as first:
            for mirror in self._mirrors.values():
                first.create_task(self._first(mirror))
        self.begun.set()
        if self._poll_s is not None:
            async with asyncio.TaskGroup() as ever:
                for mirror in self._mirrors.values():
                    ever.create_task(self._ever(mirror, self._poll_s))

    async def bring_at_start(self, models: Collection[str]) -> None:
        """What those that are named at the start are made of. A failure that lasts becomes a remark."""
        await asyncio.gather(*(self._rested(mirror, models, models) for mirror in self._mirrors.values()))

    @asynccontextmanager
    async def having(self, model: str, named: frozenset[int] | None) -> AsyncIterator[None]:
        """For a load: see what there is of a model by now, and have it here. A failure becomes a remark.

        Until the block is left, nobody's `release` takes it away.
        """
        self._held.append(model)
        try:
            async with self._change(model):
                await self._bring_for_load(model, named)
            yield
        finally:
            self._held.remove(model)

    async def release(self, model: str) -> None:
        """After an unload: let a model go, unless a call is having it."""
        if model in self._held:
            return
        async with self._change(model):
            for mirror in self._mirrors.values():
                await self._soon(mirror.release, model)

    def _change(self, model: str) -> asyncio.Lock:
        """Held while what a call has on this node of a model comes or goes."""
        return self._changing.setdefault(model, asyncio.Lock())

    async def _bring_for_load(self, model: str, named: frozenset[int] | None) -> None:
        until = monotonic() + SETTLE_PATIENCE_S
        for mirror in self._mirrors.values():
            wait_s: float | None = 0.0
            while wait_s is not None and monotonic() + wait_s < until:
                await asyncio.sleep(wait_s)
                await self._soon(mirror.poll)
                wait_s = await self._bring(mirror, model, named)
            await self._soon(mirror.remember)

    async def _first(self, mirror: Mirror) -> None:
        failures = 0
        while True:
            names: Collection[str] = await self._soon(mirror.poll)
            if mirror.has_listing:
                break
            failures += 1
            await asyncio.sleep(_UNTIL_FIRST.wait_s(failures, chance=0.5))
        await self._rested(mirror, names if self._at_start is None else self._at_start, self._at_start)

    async def _rested(self, mirror: Mirror, names: Collection[str], only: Collection[str] | None) -> None:
        """Bring these, and go on, with `only` them or whatever needs work, until they have come to rest."""
        until = monotonic() + SETTLE_PATIENCE_S
        while True:
            wait_s = await self._bring_all(mirror, names)
            if self._poll_s is None:  # nobody looks again: failures count, too
                wait_s = mirror.wait_s(only)
            if wait_s is None or monotonic() + wait_s > until:
                return
            await asyncio.sleep(wait_s)
            listed = await self._soon(mirror.poll)
            names = listed if only is None else only

    async def _ever(self, mirror: Mirror, poll_s: float) -> None:
        """A model that takes long to come does not keep others from being seen."""
        coming: set[str] = set()

        async def bring(name: str) -> None:
            try:
                await self._bring(mirror, name)
            finally:
                coming.discard(name)
            if not coming:
                await self._soon(mirror.remember)

        async with asyncio.TaskGroup() as models:
            while True:
                wait_s = None if coming else mirror.wait_s()
                await asyncio.sleep(poll_s if wait_s is None else min(poll_s, wait_s))
                for name in await self._soon(mirror.poll):
                    if name not in coming:
                        coming.add(name)
                        models.create_task(bring(name))

    async def _bring_all(self, mirror: Mirror, names: Collection[str]) -> float | None:
        """The longest time that any of them must still come to rest."""
        waits = await asyncio.gather(*(self._bring(mirror, name) for name in names))
        await self._soon(mirror.remember)
        return max((wait_s for wait_s in waits if wait_s is not None), default=None)

    async def _soon(self, work: Callable[..., Any], *arguments: object) -> Any:
        """On a thread that no download holds, and that no exit waits for: a store may take long to answer."""
        return await asyncio.get_running_loop().run_in_executor(self._listers, work, *arguments)

    async def _bring(self, mirror: Mirror, model: str, named: frozenset[int] | None = None) -> float | None:
        """On a thread of ours, so that only so many are fetched at once."""
        return await asyncio.get_running_loop().run_in_executor(self._fetchers, mirror.bring, model, named)


@contextmanager
def open_mirrors(settings: Settings, manager: Manager) -> Iterator[Mirrors]:
    """Raises `MirrorsRefused`."""
    addresses = dict.fromkeys(place for place in settings.model_repository if isinstance(place, str))
    with ExitStack() as parts:
        fetchers = ThreadPoolExecutor(settings.model_fetch_thread_count, thread_name_prefix="fetch")
        listers = ThreadPoolExecutor(len(addresses) + 1, thread_name_prefix="list")
        for threads in (fetchers, listers):
            parts.callback(threads.shutdown, wait=False, cancel_futures=True)
        mirrors: dict[str, Mirror] = {}
        cache: ObjectCache | None = None
        try:
            for url in addresses:
                cache = cache or ObjectCache(_cache_folder(settings), settings.model_cache_bytes)
                mirrors[url] = _mirror(read_address(url), cache, settings, manager)
                parts.callback(mirrors[url].close)
        except (AddressRefused, NoHardLinks) as error:
            raise MirrorsRefused(str(error)) from None
        except OSError as error:
            raise MirrorsRefused(
                f"the model cache {_cache_folder(settings)} cannot be used: {error.strerror}; "
                "name another place with --model-cache-dir"
            ) from None
        explicit = settings.model_control_mode == "explicit" and "*" not in settings.load_model
        yield Mirrors(
            mirrors,
            fetchers,
            listers,
            poll_s=settings.repository_poll_secs if settings.model_control_mode == "poll" else None,
            at_start=settings.load_model if explicit else None,
        )


def _mirror(address: Address, cache: ObjectCache, settings: Settings, manager: Manager) -> Mirror:
    store: Store = WebStore(address) if address.is_web else BucketStore(address)
    return Mirror(
        address.url,
        store,
        cache,
        settle_s=settings.repository_settle_secs,
        everything=settings.model_control_mode != "explicit" or "*" in settings.load_model,
        selection=Selection(include=settings.include_models, exclude=settings.exclude_models),
        config_name=settings.model_config_name,
        in_use=manager.ready_versions,
    )


def _cache_folder(settings: Settings) -> Path:
    if settings.model_cache_dir is not None:
        return settings.model_cache_dir.absolute()
    own = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(own) if own else Path.home() / ".cache") / "tercet" / "models"
