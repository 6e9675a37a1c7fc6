"""Takes back a version that fails its probation: what served before it serves again, loaded anew if need be.

Who is on probation is kept in `server.lifecycle.standbys`; here it is carried out, in one step of the loop.
"""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog

from server.domain.errors import ServingError
from server.domain.event import What
from server.domain.state import State
from server.lifecycle.arrivals import Arrivals
from server.lifecycle.attempts import Refusal
from server.lifecycle.departures import Departures
from server.lifecycle.events import Chronicle
from server.lifecycle.failures import Failures
from server.lifecycle.idle import IdleVersion
from server.lifecycle.instances import made_of
from server.lifecycle.residence import Residence
from server.lifecycle.served import Served
from server.lifecycle.standbys import Origin, Probation, Standbys, Standing
from server.lifecycle.table import Table
from server.lifecycle.telling import Telling
from server.lifecycle.wishes import Wishes

log = structlog.get_logger(__name__)


class TakingBack:
    """Owned by the manager.

    admit      makes ready what is to stand in the table
    lost       a version has failed for good, and nothing takes its place
    start      runs a coroutine as a task of the manager's, under a name
    changed    hears of a model of which other versions serve than before
    """

    def __init__(
        self,
        table: Table,
        wishes: Wishes,
        standbys: Standbys,
        arrivals: Arrivals,
        departures: Departures,
        failures: Failures,
        residence: Residence,
        telling: Telling,
        events: Chronicle,
        *,
        admit: Callable[[Served], None],
        lost: Callable[[Served, str], None],
        start: Callable[[Coroutine[Any, Any, None], str], object],
        changed: Callable[[str], None],
    ) -> None:
        self._table = table
        self._wishes = wishes
        self._standbys = standbys
        self._arrivals = arrivals
        self._departures = departures
        self._failures = failures
        self._residence = residence
        self._telling = telling
        self._events = events
        self._admit = admit
        self._lost = lost
        self._start = start
        self._changed = changed
        self._restored: dict[str, int] = {}

    def before(self, model: str, version: int) -> Served | None:
        """What a version that comes now will take the place of: for who asks for its number, or for none."""
        versions = self._table.versions(model)
        if version in versions:
            return versions[version]
        highest = max(versions, default=version)
        return versions[highest] if highest < version else None

    def restored(self, model: str) -> int | None:
        """The version that serves as its successor failed, whether it is offered or not."""
        return self._restored.get(model)

    def overcome(self, model: str) -> None:
        """A successor serves that did not fail, or none is wanted."""
        self._restored.pop(model, None)

    def put_on_probation(
        self, served: Served, before: Served | None, replaced: Served | None, origin: Origin
    ) -> None:
        """A version serves now, where `before` did when its load began; `replaced` has just left for it."""
        model = served.facts.model
        if before is not replaced and before not in self._table.versions(model).values():
            before = None  # it left in the meantime
        if self._standbys.begin(served, before, origin):
            self._start(self._standbys.watch(), "probations")
        if replaced is not None and not self._standbys.keep(replaced):
            self._standbys.left(replaced)
            self._departures.retire(replaced)

    def take_back(self, probation: Probation, why: str) -> None:
        """A version has failed its probation: what served before it serves again."""
        before = probation.before
        if before is not None and not probation.stands_by and not self._serves(before):
            probation.before = before = None  # it was evicted, and then it left
        if before is not None:
            self._exchange(probation, before, why)
        else:
            self._start(self._bring_again(probation, why), f"bring {probation.model} again")

    def _serves(self, served: Served) -> bool:
        """Whether requests reach this, or what has taken its place with the same content."""
        now = self._table.versions(served.facts.model).get(served.facts.version)
        return now is not None and now.content == served.content

    async def _bring_again(self, probation: Probation, why: str) -> None:
        """Load what stood by, and had to go for want of memory. Until it serves, its successor does."""
        offer, version = probation.origin.offer, probation.origin.version
        after = self._table.standing_for(probation.after)
        served = await self._arrivals.again(offer, version, made_of(offer, version), after)
        if isinstance(served, Refusal):
            facts = {"model": probation.model, "version": probation.after.facts.version}
            log.error("version_not_rolled_back", **facts, reason=why, but=served.why)
            if after.facts.down:
                self._lost(after, why)
            return
        self._admit(served)
        probation.stands_by = True
        self._exchange(probation, served, why)
        if isinstance(served, IdleVersion):
            with suppress(ServingError):  # the index says why, or the next request tries again
                await self._residence.brought(probation.model, served.facts.version)

    def _exchange(self, probation: Probation, before: Standing, why: str) -> None:
        """In one step of the loop, so that no request finds neither of the two."""
        model, number, old = probation.model, probation.after.facts.version, before.facts.version
        after = self._table.standing_for(probation.after)  # it may have been evicted meanwhile
        if self._wishes.is_over or self._table.versions(model).get(number) is not after:
            if probation.stands_by:
                self._departures.retire(before)
            return
        reason = f"rolled back: {why}"
        log.error("version_rolled_back", model=model, version=number, back_to=old, reason=why)
        self._telling.gone(What.ROLLED_BACK, after, reason)
        if probation.is_swap:
            self._table.serve(before)
            self._telling.note(model, number, State.READY, f"serving what it was before: {reason}")
            self._departures.retire(after)
        else:
            if old in self._table.versions(model):  # it is wanted beside its successor, and was loaded anew
                if probation.stands_by:
                    self._departures.retire(before)
            else:
                self._telling.note(model, old, State.LOADING)
                self._table.serve(before)
                self._telling.note(model, old, State.READY, f"serving again: version {number} was {reason}")
                self._restored[model] = old
            self._table.withdraw(model, number)
            self._telling.note(model, number, State.UNLOADING)
            self._departures.retire(after, reason)
        is_back = probation.stands_by and self._table.versions(model).get(old) is before
        if is_back and not isinstance(before, IdleVersion):
            told = (What.BROUGHT_BACK, model, old, before.content.whole)
            self._events.tell(*told, f"version {number} was {reason}")
        self._failures.blame(model, number, after.content.whole, reason)
        self._changed(model)
