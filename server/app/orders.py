"""What is to be served: joins what the repositories offer with what the operator and clients order.

The control mode decides who orders. none: everything that is there at the start. poll: everything
that is there, at any time. explicit: what is named at the start, and then what calls load and unload.

A call for a whole model leaves its versions to the version policy. A call for one version names it, beside
those that are served by then or without it; what is named so holds until the next call for the model.
"""

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from types import MappingProxyType, TracebackType
from typing import Literal, Self
from weakref import WeakValueDictionary

import structlog

from server.app.brought import BroughtFiles
from server.app.mirrors import Mirrors
from server.domain.errors import ControlRefused, InvalidRequest, LoadUnknown
from server.domain.offer import ModelOffer, Offers
from server.lifecycle.dependencies import members_of, with_members
from server.lifecycle.manager import Manager
from server.lifecycle.parts import WHOLE, Parts
from server.repository.invalid import ConfigInvalid
from server.repository.override import OverrideInvalid, override
from server.repository.scanner import Scanner
from server.repository.watching import scan_once, watch

log = structlog.get_logger(__name__)

Mode = Literal["none", "poll", "explicit"]
EVERYTHING = "*"
SETTLE_PATIENCE_S = 30.0
"""How long a start or a load waits for files that are still being written."""


class UnknownStartupModel(Exception):
    """A model named at the start is in no repository."""


class Orders:
    """The one whole wanted set. Entered once; leaving it removes the files that load calls brought.

    Answers `server.domain.control.Control`.
    """

    def __init__(
        self,
        scanner: Scanner,
        manager: Manager,
        mirrors: Mirrors,
        mode: Mode,
        *,
        poll_s: float,
        at_start: Sequence[str] = (),
        parts: Parts = WHOLE,
        told: Callable[[Offers, frozenset[str]], object] = lambda offers, wanted: None,
        stretched: Callable[[Offers], Offers] = lambda offers: offers,
    ) -> None:
        """`parts` are what is loaded here; `stretched` adds what is to linger. `told` hears all that is
        offered, and what is wanted of it.
        """
        self._scanner = scanner
        self._manager = manager
        self._mirrors = mirrors
        self._mode = mode
        self._poll_s = poll_s
        self._at_start = at_start
        self._parts = parts
        self._told = told
        self._stretched = stretched
        self._offers: Offers = MappingProxyType({})
        self._wanted: frozenset[str] = frozenset()
        self._calls: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._named: dict[str, frozenset[int]] = {}
        self._along: frozenset[str] = frozenset()
        self._brought = BroughtFiles()
        self._configs: dict[str, str] = {}
        self.begun = asyncio.Event()

    def __enter__(self) -> Self:
        self._brought.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._brought.__exit__(kind, error, trace)

    async def follow(self) -> None:
        """Order what is wanted at the start, set `begun`, and in mode poll go on for ever.

        Raises `UnknownStartupModel`.
        """
        await self._mirrors.begun.wait()
        offers = await scan_once(self._scanner, SETTLE_PATIENCE_S)
        if self._mode == "explicit" and EVERYTHING not in self._at_start:
            unknown = [model for model in self._at_start if model not in offers]
            if unknown:
                raise UnknownStartupModel(
                    f"--load-model={unknown[0]}: there is no such model in "
                    + ", ".join(str(path) for path in self._scanner.repositories)
                )
            offers = await self._with_members_here(offers)
            wanted = with_members(self._at_start, offers)
            self._along = wanted - set(self._at_start)
            self._order(offers, wanted)
        else:
            self._order(offers, frozenset(offers))
        self.begun.set()
        if self._mode == "poll":
            async for offers in watch(self._scanner, self._poll_s):
                self._order(offers, frozenset(offers))

    async def _with_members_here(self, offers: Offers) -> Offers:
        """The offers, once what is named at the start has all that it is made of on this node.

        An ensemble over ensembles shows only then what these are made of.
        """
        brought: set[str] = set()
        while missing := {
            member
            for member in with_members(self._at_start, offers) - {*self._at_start, *brought}
            if offers[member].problem
        }:
            await self._mirrors.bring_at_start(missing)
            brought |= missing
            offers = await scan_once(self._scanner, SETTLE_PATIENCE_S)
        return offers

    async def load(
        self, model: str, config: str | None, files: Mapping[str, bytes], version: int | None = None
    ) -> None:
        self._check_allowed()
        if files and config is None:
            raise InvalidRequest(
                f"load of '{model}' brings files, so it must bring the parameter 'config' too"
            )
        await self.begun.wait()
        async with self._one_call(model), AsyncExitStack() as held:
            if not files:
                await held.enter_async_context(self._mirrors.having(model, self._to_bring(model, version)))
            if version is not None:
                offer = await self._with_version(model, version)
            elif config is None:
                offer = await self._offered(model)
                self._forget(model)
            else:
                offer = await self._overridden(model, config, files)
                self._forget(model)
                self._configs[model] = config
            members = await self._members(offer, held)
            members = {name: each for name, each in members.items() if not self._is_had(name)}
            self._along = (self._along | (members.keys() - self._wanted)) - {model}
            self._order({**self._offers, **members, model: offer}, self._wanted | {model} | members.keys())
        for member in members:  # a tier that has no part of the ensemble has these
            await self._manager.settle(member)
        await self._settled(model, offer.directory, version)

    async def unload(self, model: str, version: int | None = None, *, dependents: bool = False) -> None:
        self._check_allowed()
        await self.begun.wait()
        async with self._one_call(model):
            if model not in self._offers:
                return
            served = self._served(model)
            if version is not None and version not in served:
                return
            if version is not None and len(served) > 1:
                offer = _without(self._offers[model], served, version)
                self._named[model] = served - {version}
                files: Sequence[Path] = ()
                going = {model}
                self._order({**self._offers, model: offer}, self._wanted)
            else:
                self._forget(model)
                files = self._brought.folders(model)
                going = {model} | (self._left_over(model) if dependents else set())
                self._along -= going
                self._order(self._offers, self._wanted - going)
        for each in going:
            await self._manager.settle(each)
        for each in going:
            if each not in self._wanted:  # looked at for each: letting one go takes a while
                await self._mirrors.release(each)
        await self._brought.remove(model, files)

    def _one_call(self, model: str) -> asyncio.Lock:
        """Held while a call finds out what to order of a model; calls for other models do not wait for it."""
        return self._calls.setdefault(model, asyncio.Lock())

    def _check_allowed(self) -> None:
        if self._mode != "explicit":
            raise ControlRefused()

    def _order(self, offers: Offers, wanted: frozenset[str]) -> None:
        self._offers, self._wanted = offers, wanted
        self._told(offers, wanted)
        here = self._stretched(self._parts.of(offers))
        self._manager.apply(here, wanted & here.keys())

    def again(self) -> None:
        """Order the same once more: what lingered may be over."""
        self._order(self._offers, self._wanted)

    def _forget(self, model: str) -> None:
        """What calls have said of a model before."""
        self._named.pop(model, None)
        self._configs.pop(model, None)

    def _served(self, model: str) -> frozenset[int]:
        """The versions of a model that are to be served by now, or are served still."""
        if model not in self._wanted:
            return frozenset()
        if model in self._named:
            return self._named[model]
        return frozenset(self._offers[model].versions) | frozenset(self._manager.ready_versions(model))

    def _is_had(self, model: str) -> bool:
        """Whether a model is wanted, with no problem that the repository may have mended by now."""
        return model in self._wanted and (not self._offers[model].problem or model in self._configs)

    async def _members(self, offer: ModelOffer, held: AsyncExitStack) -> dict[str, ModelOffer]:
        """The offers of what an ensemble is made of, and is not had yet: they are to be loaded along.

        They stay on this node until `held` is left.
        """
        found: dict[str, ModelOffer] = {}
        needed = members_of(offer.config)
        while needed := frozenset(each for each in needed - {offer.name} if not self._is_had(each)):
            coming = sorted(needed - found.keys())
            for member in coming:  # all before the first is looked at, as they come to rest side by side
                await held.enter_async_context(self._mirrors.having(member, self._named.get(member)))
            needed = frozenset()
            for member in coming:
                with suppress(LoadUnknown):  # the ensemble itself says what it lacks
                    found[member] = await self._offered(member, self._named.get(member))
                    needed |= members_of(found[member].config)
        return found

    def _left_over(self, model: str) -> frozenset[str]:
        """What was loaded along with an ensemble, and nothing needs once that goes."""
        needed = with_members(self._wanted - self._along - {model}, self._offers)
        return with_members({model}, self._offers) - needed - {model}

    def _to_bring(self, model: str, version: int | None) -> frozenset[int] | None:
        """Which versions of a remote model are to be on this node; None for what its policy chooses."""
        return None if version is None else self._served(model) | {version}

    async def _settled(self, model: str, directory: Path, version: int | None) -> None:
        """Wait for a load, and remove the files that earlier calls brought.

        Unless it succeeds, the oldest stay: they may be what is served still.
        """
        earlier = self._brought.folders(model, before=directory.parent)
        is_served = False
        try:
            await self._manager.settled(model, version)
            is_served = True
        finally:
            await self._brought.remove(model, earlier if is_served else earlier[1:])

    async def _offered(
        self, model: str, named: frozenset[int] | None = None, version: int | None = None
    ) -> ModelOffer:
        """What the repositories have of a model by now, once its files, or a version's, are at rest."""
        wanted = {name: versions for name, versions in self._named.items() if name != model}
        if named is not None:
            wanted[model] = named
        until = monotonic() + SETTLE_PATIENCE_S
        while True:
            scan = await asyncio.to_thread(self._scanner.scan, wanted)
            offer = scan.offers.get(model)
            left = until - monotonic()
            if offer is not None:
                restless = offer.unsettled if version is None else offer.unsettled & {version}
                if not (restless or model in scan.settling) or left <= 0:
                    return offer
            if scan.wait_s is None or left <= 0:
                raise LoadUnknown(model)
            await asyncio.sleep(min(scan.wait_s, left))

    async def _with_version(self, model: str, version: int) -> ModelOffer:
        """The offer with one more version, and with the others as they are."""
        others = self._served(model) - {version}
        named = others | {version}
        if model in self._configs:
            directory = self._offers[model].directory
            offer = await self._read(model, self._configs[model], {}, directory, named)
        else:
            offer = await self._offered(model, named, version)
        if offer.problem:
            return offer
        if version not in offer.on_disk:
            there_are = ", ".join(map(str, sorted(offer.on_disk)))
            raise LoadUnknown(model, f"it has no version {version}; there are {there_are}")
        if version in offer.unsettled:
            raise LoadUnknown(model, f"version {version} is still being written")
        earlier = self._offers[model].versions if others else {}
        kept = {other: earlier[other] for other in others & earlier.keys() & offer.on_disk}
        self._named[model] = named
        return replace(
            offer,
            versions={**offer.versions, **kept},
            unsettled=offer.unsettled - kept.keys(),
            broken={other: why for other, why in offer.broken.items() if other not in kept},
        )

    async def _overridden(self, model: str, config: str, files: Mapping[str, bytes]) -> ModelOffer:
        """The offer that a load call brings along; its files go to a folder of ours."""
        directory = None
        if not files:
            with suppress(LoadUnknown):
                directory = (await self._offered(model)).directory
        offer = await self._read(model, config, files, directory)
        if not files:
            return offer
        known = self._offers[model] if model in self._wanted else offer
        came_so = known.directory.parent in self._brought.folders(model)
        if came_so and _brings(known) == _brings(offer):
            await asyncio.to_thread(shutil.rmtree, offer.directory.parent, ignore_errors=True)
            return known  # so that the files that are served, or are loading, are not taken away
        self._brought.add(model, offer.directory.parent)
        return offer

    async def _read(
        self,
        model: str,
        config: str,
        files: Mapping[str, bytes],
        directory: Path | None,
        named: frozenset[int] | None = None,
    ) -> ModelOffer:
        try:
            return await asyncio.to_thread(
                override, model, config, files, self._brought.root, directory, named, self._scanner.demand
            )
        except ConfigInvalid as error:
            raise LoadUnknown(model, str(error)) from None
        except OverrideInvalid as error:
            raise InvalidRequest(str(error)) from None


def _without(offer: ModelOffer, served: frozenset[int], version: int) -> ModelOffer:
    """What is left once a version is to go; of the others, those that the offer does not have stay served."""
    left = served - {version}
    return replace(
        offer,
        versions={other: offer.versions[other] for other in left & offer.versions.keys()},
        unsettled=left - offer.versions.keys(),
        broken={other: why for other, why in offer.broken.items() if other in left},
        one_by_one=True,
    )


def _brings(offer: ModelOffer) -> tuple[object, ...]:
    """Equal for two offers of the same content, wherever it lies."""
    versions = {version: each.fingerprint for version, each in offer.versions.items()}
    return offer.fingerprint, versions, offer.on_disk, offer.problem, offer.one_by_one
