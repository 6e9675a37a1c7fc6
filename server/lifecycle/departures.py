"""Lets versions go: out of the table first, then left to finish what they have, closed, and told of."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from server.domain.event import What
from server.domain.state import UNLOADED, State
from server.lifecycle.failures import Failures
from server.lifecycle.residence import Residence
from server.lifecycle.served import Served
from server.lifecycle.standbys import Standbys
from server.lifecycle.table import Table
from server.lifecycle.telling import Telling
from server.lifecycle.version import ServedVersion
from server.lifecycle.wishes import Wishes

log = structlog.get_logger(__name__)


class Departures:
    """Owned by the manager.

    start      runs a coroutine as a task of the manager's, under a name
    left       hears of a model of which other versions serve than before
    within_s   a version has to finish what it has
    """

    def __init__(
        self,
        table: Table,
        wishes: Wishes,
        residence: Residence,
        standbys: Standbys,
        failures: Failures,
        telling: Telling,
        *,
        start: Callable[[Coroutine[Any, Any, None], str], object],
        left: Callable[[str], None],
        within_s: float,
    ) -> None:
        self._table = table
        self._wishes = wishes
        self._residence = residence
        self._standbys = standbys
        self._failures = failures
        self._telling = telling
        self._start = start
        self._left = left
        self._within_s = within_s

    def unload(self, model: str, versions: Iterable[int], reason: str = UNLOADED) -> None:
        for version in list(versions):
            self.withdraw(model, version, reason)

    def withdraw(
        self,
        model: str,
        version: int,
        reason: str = UNLOADED,
        *,
        may_stand_by: bool = False,
        what: What = What.UNLOADING,
    ) -> None:
        """Requests reach it no more. It is retired, unless it `may_stand_by` for a successor on probation."""
        served = self._table.withdraw(model, version)
        self._failures.forgive(model, version)
        if served is None:
            return
        self._telling.note(model, version, State.UNLOADING)
        if may_stand_by and self._standbys.keep(served):
            self._telling.note(model, version, State.UNAVAILABLE, reason)
            why = "another version serves; this one stands by while that is on probation"
            self._telling.gone(What.UNLOADING, served, why)
        else:
            self._standbys.left(served)
            self._telling.gone(what, served, reason)
            self.retire(served, reason)
        self._left(model)

    def give_way(self, served: Served) -> None:
        """Its memory is wanted for its successor, which it may have to take the place of again."""
        model, version = served.facts.model, served.facts.version
        if self._standbys.stands_by(model) is served:
            self._standbys.evict(model)
        elif self._table.versions(model).get(version) is served:
            self._standbys.gave_way(served)
            self.withdraw(model, version)

    def retire(self, served: Served, reason: str | None = None, *, why: str = "") -> None:
        """It is in the table no more: close it, and say `why`; in the index only with a `reason`."""
        self._residence.stays.leaving(served)
        self._start(self._let_go(served, reason, why), f"retire {served.facts.model}")

    def clear_away(self, served: Served) -> None:
        """Close what nobody misses: its content stands in the table as an idle version, or never did."""
        self._residence.stays.leaving(served)
        self._start(self._close(served), f"close {served.facts.model}")

    def put_away(self, model: str, reason: str) -> None:
        """What failed of a model that is not to be served is out for the same reason as the rest of it."""
        for version, status in list(self._table.statuses(model).items()):
            if status.state is State.UNAVAILABLE:
                self._failures.forgive(model, version)
                self._telling.note(model, version, State.UNAVAILABLE, reason)

    def drop(self, model: str, version: int) -> None:
        """Its folder is gone, and it does not serve."""
        self._failures.forgive(model, version)
        self._residence.forget(model, version)
        self._table.drop(model, version)

    async def _close(self, served: Served) -> None:
        try:
            await served.retire(self._within_s)
            if isinstance(served, ServedVersion):
                await served.give_back()
        finally:
            self._residence.gone(served)

    async def _let_go(self, served: Served, reason: str | None, why: str) -> None:
        model, version = served.facts.model, served.facts.version
        await self._close(served)
        log.info("version_unloaded", model=model, version=version)
        self._telling.gone(What.UNLOADED, served, reason or why)
        status = self._table.statuses(model).get(version)
        if reason is None or status is None or status.state is not State.UNLOADING:
            return  # another one has taken its place
        self._telling.note(model, version, State.UNAVAILABLE, reason)
        offer = self._wishes.offers.get(model)
        if offer is not None and not offer.problem and version not in offer.on_disk:
            self.drop(model, version)
