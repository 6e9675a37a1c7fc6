"""Versions on probation, and those that they took the place of: kept for a while, to be had back at once.

A version that takes the place of another is on probation for the window. The other one stands by meanwhile,
open but out of the table, or is still in it under its own number. Once a second the rule
(`server.lifecycle.rollback`) looks at what both have counted; nothing is asked of a request.

Owned by the manager and used on its loop; `watch` is a task of the manager's, and ends by itself.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from server.domain.configuration import ROLLBACK, ModelConfig
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.idle import IdleVersion
from server.lifecycle.rollback import Watch, record_of
from server.lifecycle.served import Served
from server.lifecycle.version import ServedVersion

LOOK_S = 1.0

NO_NEED = "it stood by, and is needed no longer"
MADE_ROOM = "it stood by, and its memory was needed"

REMEMBERED = 32
"""Versions of one model, of which it is known what they were loaded of, and whether they failed."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator wants.

    window_s   how long a new version is on probation; 0 for not at all
    is_on      for models that do not say it themselves, by the parameter `tercet.rollback`
    """

    window_s: float = 0.0
    is_on: bool = True

    def applies(self, config: ModelConfig) -> bool:
        said = config.parameters.get(ROLLBACK, "").lower()
        return self.window_s > 0 and (said == "true" or (self.is_on and said != "false"))


@dataclass(frozen=True, slots=True)
class Origin:
    """Of what a version was loaded, and can be loaded again."""

    offer: ModelOffer
    version: VersionOffer


Standing = ServedVersion | IdleVersion
"""What can be on probation: a model of its own, in memory or not."""


@dataclass(slots=True)
class Probation:
    """One new version, and the one to come back if it fails.

    after       as it began; by now another version of the same content may stand for it, loaded again
    before      None once its memory was wanted for others: it is to be loaded again, then
    origin      of what `before` was loaded
    until       None as long as `after` has not been in memory
    stands_by   `before` is out of the table, and is nobody's but ours
    """

    after: Standing
    before: Standing | None
    origin: Origin
    until: float | None
    watch: Watch
    stands_by: bool = False

    @property
    def model(self) -> str:
        return self.after.facts.model

    @property
    def is_swap(self) -> bool:
        """New content has taken the place of old under the same number."""
        return self.origin.version.version == self.after.facts.version

    def is_of(self, served: Served) -> bool:
        """Whether this is the new version, or the same one loaded again."""
        return _same(self.after, served)

    def was_before(self, served: Served) -> bool:
        return self.before is not None and _same(self.before, served)


class Standbys:
    """At most one probation for each model.

    retire   let a version go that stands by no longer, for this reason
    fail     a version has failed its probation; it is over by then, and what stood by is the callee's
    """

    def __init__(
        self,
        policy: Policy,
        retire: Callable[[ServedVersion, str], None],
        fail: Callable[[Probation, str], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._policy = policy
        self._retire = retire
        self._fail = fail
        self._clock = clock
        self._probations: dict[str, Probation] = {}
        self._origins: dict[str, dict[int, Origin]] = {}
        self._failed: dict[str, dict[int, str]] = {}
        self._closed = asyncio.Event()
        self._is_watched = False

    def begin(self, after: Served, before: Served | None, origin: Origin) -> bool:
        """`after` serves now, where `before` did until now; whether somebody has to `watch` from now on.

        A version that failed before is on no probation: who had it loaded once more insists on it.
        """
        facts = after.facts
        origins = self._origins.setdefault(facts.model, {})
        known = origins.get(before.facts.version) if before is not None else None
        _put(origins, facts.version, origin)
        if not isinstance(after, Standing) or not isinstance(before, Standing) or known is None:
            return False
        self.end(facts.model)
        if (
            not self._policy.applies(facts.config)
            or self._failed.get(facts.model, {}).get(facts.version) == after.content.whole
        ):
            return False
        until = self._clock() + self._policy.window_s if isinstance(after, ServedVersion) else None
        watch = Watch(record_of(before.facts.tally))
        self._probations[facts.model] = Probation(after, before, known, until, watch)
        is_first, self._is_watched = not self._is_watched, True
        return is_first

    def loaded(self, served: ServedVersion) -> None:
        """What was idle is in memory. If it is on probation, that goes on, or begins by now."""
        probation = self._probations.get(served.facts.model)
        if probation is None:
            return
        if probation.is_of(served):
            probation.after = served
            if probation.until is None:
                probation.until = self._clock() + self._policy.window_s
        elif probation.was_before(served) and not probation.stands_by:
            probation.before = served

    def keep(self, served: Served) -> bool:
        """Whether a version that has just left the table stands by; if not, it is the caller's to retire."""
        probation = self._probations.get(served.facts.model)
        if probation is None or not probation.was_before(served) or self._closed.is_set():
            return False
        if not isinstance(served, ServedVersion):  # there is nothing of it in memory
            self.gave_way(served)
            return False
        probation.before, probation.stands_by = served, True
        return True

    def gave_way(self, served: Served) -> None:
        """A version leaves that is to be loaded again if its successor fails, where that can be."""
        probation = self._probations.get(served.facts.model)
        if probation is not None and probation.was_before(served):
            probation.before, probation.stands_by = None, False
            if probation.is_swap:  # its files are those of its successor by now
                self.end(probation.model)

    def stands_by(self, model: str) -> ServedVersion | None:
        """What is open for the sake of a probation alone: the first that is to go where memory is short."""
        probation = self._probations.get(model)
        if probation is None or not probation.stands_by or not isinstance(probation.before, ServedVersion):
            return None
        return probation.before

    def evict(self, model: str, why: str = MADE_ROOM) -> None:
        """Retire what stands by. If it is wanted back, it is loaded again, where that can be."""
        before = self.stands_by(model)
        if before is not None:
            self.gave_way(before)
            self._retire(before, why)

    def condemn(self, served: Served, why: str) -> bool:
        """A version cannot serve any more, by its own fault; whether a probation of it sees to that."""
        probation = self._probations.get(served.facts.model)
        if probation is None or not probation.is_of(served):
            return False
        self._judge(probation, why)
        return True

    def left(self, served: Served) -> None:
        """A version has left the table on purpose: whatever it was, the probation has no sense any more."""
        probation = self._probations.get(served.facts.model)
        if probation is not None and (probation.is_of(served) or probation.was_before(served)):
            self.end(probation.model)

    def end(self, model: str) -> None:
        """What stands by for this model is needed no longer."""
        before = self.stands_by(model)
        self._probations.pop(model, None)
        if before is not None:
            self._retire(before, NO_NEED)

    def forget(self, model: str) -> None:
        """The repository has this name no more."""
        self.end(model)
        self._origins.pop(model, None)
        self._failed.pop(model, None)

    async def watch(self) -> None:
        """Look at those on probation, until there are none or this is closed."""
        try:
            while self._probations and not self._closed.is_set():
                try:
                    async with asyncio.timeout(LOOK_S):
                        await self._closed.wait()
                except TimeoutError:
                    self.look()
        finally:
            self._is_watched = False

    def look(self) -> None:
        """Once."""
        now = self._clock()
        for model, probation in list(self._probations.items()):
            facts = probation.after.facts
            after = probation.after
            target_ms = after.latency_target_ms if isinstance(after, ServedVersion) else None
            probation.watch, why = probation.watch.look(record_of(facts.tally), target_ms)
            if why:
                self._judge(probation, why)
            elif probation.until is not None and now >= probation.until:
                self.end(model)

    def _judge(self, probation: Probation, why: str) -> None:
        model, facts = probation.model, probation.after.facts
        _put(self._failed.setdefault(model, {}), facts.version, probation.after.content.whole)
        del self._probations[model]
        self._fail(probation, why)

    def close(self) -> None:
        """Nobody is on probation any more."""
        self._closed.set()
        for model in list(self._probations):
            self.end(model)


def _same(one: Served, other: Served) -> bool:
    """Of one content and one number, whether loaded once or again."""
    return (one.version, one.content) == (other.version, other.content)


def _put(known: dict[int, T], version: int, value: T) -> None:
    """The one that was not put for longest goes."""
    known.pop(version, None)
    known[version] = value
    if len(known) > REMEMBERED:
        del known[next(iter(known))]
