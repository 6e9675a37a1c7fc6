"""When a request that is slow to be answered goes to a second endpoint as well, and whose answer counts.

Hedged requests, after Dean and Barroso, The Tail at Scale (CACM 2013): the copy goes once the first has had
its time, the first answer counts, and the other copy is told that nobody waits for it. Copies are a small
share of all requests, so that a tier that is slow because it is full is not asked twice as much.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from server.domain.configuration import ModelConfig
from server.domain.stage import StageName
from server.scheduling.alarm import Alarm
from server.scheduling.ticket import Ticket
from server.stages.hop.parcel import Parcel
from server.stages.hop.retries import RetryBudget

SHARE, MOST = 0.05, 20.0
"""Copies for a request that is sent, and how many of them may be saved up."""


def hedge_ms_of(route: Sequence[StageName], config: ModelConfig) -> float | None:
    """After how long a request on this way goes to a second endpoint too; None for never.

    Whoever hands it to the predict tier does that, and nobody else: copies of copies would be four.
    """
    return config.hedge_after_ms if route[0] == "predict" else None


@dataclass(slots=True)
class Hedges:
    """Of all models in this process. `won` are the copies that were answered first; `budget.spent` all."""

    budget: RetryBudget = field(default_factory=lambda: RetryBudget(SHARE, MOST))
    won: int = 0

    @property
    def counts(self) -> tuple[int, int]:
        """All, and those that were won."""
        return self.budget.spent, self.won


class Hedging:
    """Of one model's way to another tier. Lives on the event loop; `close` ends it.

    `copy` sends these requests of a parcel to another endpoint too; None if no other could take them.
    """

    def __init__(
        self,
        after_ns: int,
        hedges: Hedges,
        copy: Callable[[Parcel, Collection[Ticket]], Parcel | None],
        clock: Callable[[], int],
    ) -> None:
        self._after_ns = after_ns
        self._hedges = hedges
        self._copy = copy
        self._clock = clock
        self._sent: deque[Parcel] = deque()
        self._alarm = Alarm(self._look, clock)
        self._twice: dict[Ticket, tuple[Parcel, Parcel]] = {}

    def sent(self, parcel: Parcel) -> None:
        """It has left just now, for the first endpoint."""
        self._hedges.budget.earn(len(parcel.tickets))
        self._sent.append(parcel)
        self._alarm.set_by(parcel.sent + self._after_ns)

    def answered(self, parcel: Parcel, tickets: Iterable[Ticket]) -> list[Parcel]:
        """These have their answers by this parcel: their other copies are dropped. Returns what has had them.

        An endpoint that has answered nothing at all since it was asked, while another has, did not do its
        work: its unanswered requests are dropped one by one, so that it would look idle.
        """
        others = []
        overtaken = set()
        for ticket in tickets:
            both = self._twice.pop(ticket, None)
            if both is None:
                continue
            first, copy = both
            other = first if parcel is copy else copy
            other.link.drop(other, ticket)
            others.append(other)
            if parcel is copy:
                self._hedges.won += 1
                overtaken.add(first)
        now = self._clock() / 1e9
        for first in overtaken:
            if first.link.outlier.well_at < first.sent / 1e9:
                first.link.outlier.failed(now)
        return others

    def is_elsewhere(self, ticket: Ticket) -> bool:
        """Whether one that failed by one parcel is still awaited by another. Says so once."""
        return self._twice.pop(ticket, None) is not None

    def forget(self, ticket: Ticket) -> None:
        """Its caller has left."""
        self._twice.pop(ticket, None)

    def close(self) -> None:
        self._alarm.clear()
        self._sent.clear()

    def _look(self) -> None:
        """Send the copies that are due. What was answered meanwhile is not looked at again."""
        sent = self._sent
        due = self._clock() - self._after_ns
        while sent and (not sent[0].left or sent[0].sent <= due):
            self._hedge(sent.popleft())
        if sent:
            self._alarm.set_by(sent[0].sent + self._after_ns)

    def _hedge(self, parcel: Parcel) -> None:
        late = [ticket for ticket in parcel.tickets if ticket is not None and not ticket.settled]
        late = late[: self._hedges.budget.left]
        if not late:
            return
        copy = self._copy(parcel, late)
        if copy is not None:
            for ticket in late:
                self._hedges.budget.spend()
                self._twice[ticket] = (parcel, copy)
