"""The way into the tiers: open while every tier that a version needs is there, and shut while one is not.

Without it a request would go as far as the tier before the one that is away, cost what that tier takes, and
wait there for nothing until its time is over.
"""

from time import monotonic_ns

from server.domain.catalogue import VersionFacts
from server.domain.errors import ServingError, TierUnavailable
from server.domain.stage import StageName
from server.lifecycle.remote import Queue
from server.scheduling.counting import reason_of
from server.scheduling.ticket import Ticket


class Gate:
    """A `Queue` before another. What is through it when it shuts goes on.

    lacks   the tier that is away; None while the gate is open
    """

    def __init__(self, facts: VersionFacts, queue: Queue) -> None:
        self.lacks: StageName | None = None
        self._facts = facts
        self._queue = queue

    def submit(self, ticket: Ticket) -> None:
        """Also raises `TierUnavailable`."""
        if self.lacks is not None:
            error = TierUnavailable(
                self.lacks, self._facts.model, "it has no endpoint that is ready", untouched=True
            )
            if ticket.arrived:
                lasted = monotonic_ns() - int(ticket.arrived * 1e9)
                self._facts.tally.failed(reason_of(error), lasted)
            raise error
        self._queue.submit(ticket)

    def leave(self, ticket: Ticket, error: ServingError) -> None:
        self._queue.leave(ticket, error)

    async def close(self, within_s: float) -> None:
        await self._queue.close(within_s)
