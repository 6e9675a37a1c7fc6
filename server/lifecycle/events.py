"""The chronicle of all that happens to versions: told on the event loop, kept in a ring, read by anybody.

Nobody who reads holds up who tells: a reader remembers the last number that it had, and is told how many it
has missed where the ring has moved on. Who wants each event at once, such as the history, hears it in turn.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from time import monotonic, time
from typing import NamedTuple

import structlog

from server.domain.event import LEADS_TO, Event, What
from server.domain.state import State
from server.observe.passages import Passages
from server.observe.tally import Tally

log = structlog.get_logger(__name__)

KEPT = 4096
"""Events: of a repository with a thousand models, its start and some hours after it."""

BEGINNING_PER_S = 1_000_000
"""Numbers go on over restarts while no process tells more events a second, on the average of its life."""

CONTENTS = 3
"""Of one version, those whose state is remembered: what serves, what is to come, what is going."""

AT_WORK = frozenset({State.LOADING, State.READY, State.UNLOADING})

Hearer = Callable[[Event], None]


class Counts(NamedTuple):
    """Requests that a version answered or failed, and those of them that were its own fault."""

    requests: int = 0
    failures: int = 0


def counts_of(tally: Tally) -> Counts:
    failed = tally.failures["BACKEND"]
    return Counts(tally.success.count + failed, failed)


def short(content: str) -> str:
    """A name of a content for people: the same content has the same one everywhere."""
    return sha256(content.encode()).hexdigest()[:12] if content else ""


@dataclass(frozen=True, slots=True)
class Page:
    """What somebody reads of the chronicle.

    events   in their order
    oldest   the number of the first that is kept
    last     the number up to which this is all there is, with what a filter left out
    missed   how many came after what was asked for and are no longer kept; None for unknown, as it was not
             this process that gave the number
    more     whether a limit cut it short
    """

    events: tuple[Event, ...]
    oldest: int
    last: int
    missed: int | None
    more: bool


@dataclass(frozen=True, slots=True)
class _Standing:
    state: State
    since: float


class Chronicle:
    """Lives on the event loop. `clock` is of the epoch, `ticks` is monotonic; both in seconds."""

    def __init__(
        self, *, kept: int = KEPT, clock: Callable[[], float] = time, ticks: Callable[[], float] = monotonic
    ) -> None:
        self.passages = Passages()
        self._clock = clock
        self._ticks = ticks
        self._first = self._next = int(clock() * BEGINNING_PER_S)
        self._ring: deque[Event] = deque(maxlen=kept)
        self._standing: dict[str, dict[int | None, dict[str, _Standing]]] = {}
        self._leaving: set[str] = set()
        self._hearers: list[Hearer] = []
        self._deaf: set[int] = set()
        self._waiting: set[asyncio.Future[None]] = set()

    def tell(
        self,
        what: What,
        model: str,
        version: int | None,
        content: str = "",
        reason: str = "",
        counts: Counts | None = None,
    ) -> None:
        """Note what has just happened; `content` is as `Content.whole` has it."""
        if what is What.SEEN:
            self._leaving.discard(model)
        name = short(content)
        now = self._ticks()
        known = self._standing.setdefault(model, {}).setdefault(version, {})
        before = known.pop(name, None)
        was = before.state if before else State.UNKNOWN
        leads_to = LEADS_TO[what]
        event = Event(
            sequence=self._next,
            at=self._clock(),
            model=model,
            version=version,
            content=name,
            what=what,
            was=was,
            now=was if leads_to is None else leads_to,
            reason=reason,
            duration_s=now - before.since if before else None,
            requests=counts.requests if counts else None,
            failures=counts.failures if counts else None,
        )
        known[name] = _Standing(event.now, before.since if before and leads_to is None else now)
        while len(known) > CONTENTS:
            del known[next(iter(known))]
        self._next += 1
        self._ring.append(event)
        if what is not What.SEEN:
            self.passages.count(model, what)
        for at, hear in enumerate(self._hearers):
            try:
                hear(event)
            except Exception:  # the hearer's fault: who tells is at work on a model, and goes on
                if at not in self._deaf:
                    log.exception("event_not_heard", model=model, version=version, change=what.value)
                self._deaf.add(at)
        if model in self._leaving:
            self._forget_if_gone(model)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    def see(self, model: str, version: int, content: str) -> None:
        """The repository has this content: news only where it is new."""
        if short(content) not in self._standing.get(model, {}).get(version, {}):
            self.tell(What.SEEN, model, version, content)

    def forget(self, model: str) -> None:
        """The repository has this name no more: nothing is kept of it once the last of it is unloaded."""
        self._leaving.add(model)
        self._forget_if_gone(model)

    def _forget_if_gone(self, model: str) -> None:
        standing = [each.state for known in self._standing.get(model, {}).values() for each in known.values()]
        if not AT_WORK.intersection(standing):
            self._leaving.discard(model)
            self._standing.pop(model, None)
            self.passages.forget(model)

    def heard_by(self, hearer: Hearer) -> None:
        """Tell each event from now on, at once and in order. What it raises is logged, the first time."""
        self._hearers.append(hearer)

    @property
    def last(self) -> int:
        return self._next - 1

    def latest(self, limit: int, model: str = "") -> Page:
        """The last of them."""
        found = [event for event in self._ring if model in ("", event.model)]
        return Page(tuple(found[-limit:]), self._oldest, self.last, 0, len(found) > limit)

    def since(self, sequence: int, limit: int, model: str = "") -> Page:
        """Those after a number, the first ones first.

        A number that was not given here is of an earlier process, be it too high: clocks are set back.
        """
        missed: int | None = max(0, self._oldest - 1 - sequence)
        if sequence == 0:  # all that there is
            missed = self._oldest - self._first
        elif not self._first - 1 <= sequence <= self.last:
            sequence, missed = 0, None
        found: list[Event] = []
        for event in islice(self._ring, max(0, sequence + 1 - self._oldest), None):
            if model in ("", event.model):
                if len(found) == limit:
                    return Page(tuple(found), self._oldest, found[-1].sequence, missed, True)
                found.append(event)
        return Page(tuple(found), self._oldest, self.last, missed, False)

    async def after(self, sequence: int) -> None:
        """Wait until something has happened after this number."""
        if self.last > sequence:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    @property
    def _oldest(self) -> int:
        return self._ring[0].sequence if self._ring else self._next
