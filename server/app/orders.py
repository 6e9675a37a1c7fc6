"""What is to be served: joins what the repositories offer with what the operator and clients order.

The control mode decides who orders. none: everything that is there at the start. poll: everything
that is there, at any time. explicit: what is named at the start, and then what calls load and unload.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import MappingProxyType, TracebackType
from typing import Literal, Self

import structlog

from server.domain.errors import ControlRefused, InvalidRequest, LoadUnknown
from server.domain.offer import ModelOffer, Offers
from server.lifecycle.manager import Manager
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
        self, scanner: Scanner, manager: Manager, mode: Mode, *, poll_s: float, at_start: Sequence[str] = ()
    ) -> None:
        self._scanner = scanner
        self._manager = manager
        self._mode = mode
        self._poll_s = poll_s
        self._at_start = at_start
        self._offers: Offers = MappingProxyType({})
        self._wanted: frozenset[str] = frozenset()
        self._calls = asyncio.Lock()
        self._folder: Path | None = None
        self._brought: dict[str, Path] = {}
        self.begun = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def follow(self) -> None:
        """Order what is wanted at the start, set `begun`, and in mode poll go on for ever.

        Raises `UnknownStartupModel`.
        """
        offers = await scan_once(self._scanner, SETTLE_PATIENCE_S)
        if self._mode == "explicit" and EVERYTHING not in self._at_start:
            unknown = [model for model in self._at_start if model not in offers]
            if unknown:
                raise UnknownStartupModel(
                    f"--load-model={unknown[0]}: there is no such model in "
                    + ", ".join(str(path) for path in self._scanner.repositories)
                )
            self._order(offers, frozenset(self._at_start))
        else:
            self._order(offers, frozenset(offers))
        self.begun.set()
        if self._mode == "poll":
            async for offers in watch(self._scanner, self._poll_s):
                self._order(offers, frozenset(offers))

    async def load(self, model: str, config: str | None, files: Mapping[str, bytes]) -> None:
        self._check_allowed()
        if files and config is None:
            raise InvalidRequest(
                f"load of '{model}' brings files, so it must bring the parameter 'config' too"
            )
        await self.begun.wait()
        async with self._calls:
            if config is None:
                offer = await self._offered(model)
            else:
                offer = await self._overridden(model, config, files)
            self._order({**self._offers, model: offer}, self._wanted | {model})
        await self._manager.settled(model)

    async def unload(self, model: str) -> None:
        self._check_allowed()
        await self.begun.wait()
        async with self._calls:
            self._order(self._offers, self._wanted - {model})
        await self._manager.settle(model)
        self._forget_brought(model)

    def _check_allowed(self) -> None:
        if self._mode != "explicit":
            raise ControlRefused()

    def _order(self, offers: Offers, wanted: frozenset[str]) -> None:
        self._offers, self._wanted = offers, wanted
        self._manager.apply(offers, wanted)

    async def _offered(self, model: str) -> ModelOffer:
        """What the repositories have of a model by now, once its files are at rest."""
        until = monotonic() + SETTLE_PATIENCE_S
        while True:
            scan = await asyncio.to_thread(self._scanner.scan)
            offer = scan.offers.get(model)
            left = until - monotonic()
            if offer is not None and (not offer.unsettled or left <= 0):
                return offer
            if scan.wait_s is None or left <= 0:
                raise LoadUnknown(model)
            await asyncio.sleep(min(scan.wait_s, left))

    async def _overridden(self, model: str, config: str, files: Mapping[str, bytes]) -> ModelOffer:
        """The offer that a load call brings along; its files go to a folder of ours."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="tercet-"))
        known = self._offers.get(model)
        on_disk = None if known is None or model in self._brought else known.directory
        try:
            offer = await asyncio.to_thread(override, model, config, files, self._folder, on_disk)
        except ConfigInvalid as error:
            raise LoadUnknown(model, str(error)) from None
        except OverrideInvalid as error:
            raise InvalidRequest(str(error)) from None
        self._forget_brought(model)
        if files:
            self._brought[model] = offer.directory.parent
        return offer

    def _forget_brought(self, model: str) -> None:
        folder = self._brought.pop(model, None)
        if folder is not None:
            with suppress(OSError):
                shutil.rmtree(folder)
