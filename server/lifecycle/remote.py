"""One version whose stages other processes do: what a gateway serves.

A request reaches it by the way of any plain version: where that has a batcher, this one has a queue that
leads to another tier.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from server.domain.catalogue import VersionFacts
from server.domain.errors import ServingError
from server.domain.signature import Signature
from server.domain.stage import StageName
from server.lifecycle.instances import Content
from server.lifecycle.leases import Leases
from server.scheduling.ticket import Ticket


class Queue(Protocol):
    """Where requests of one version wait for what will answer them: a batcher, or the way to another tier."""

    def submit(self, ticket: Ticket) -> None:
        """Take a request, or raise a `ServingError`; its ticket is settled later, on the loop."""
        ...

    def leave(self, ticket: Ticket, error: ServingError) -> None:
        """Its caller gave up: it is settled with this error, and its work is dropped where that can be."""
        ...

    async def close(self, within_s: float) -> None:
        """Take nothing more, and wait until all that was taken is settled; what is left then fails."""
        ...


class RemoteVersion:
    """What a request reaches.

    facts      what clients are told, put together from what the tiers report
    content    what it is made of: the tiers are asked for this and nothing else
    version    its number, as on the wire
    predicts   the signature that clients see: the stages behind it hold requests against theirs
    batcher    the queue to the first stage
    route      the stages, in their order
    staged     never: the whole way is one queue's to go
    """

    staged: Literal[False] = False

    def __init__(
        self, *, facts: VersionFacts, content: Content, queue: Queue, route: Sequence[StageName]
    ) -> None:
        self.facts = facts
        self.version = str(facts.version)
        self.content = content
        self.predicts: Signature = facts.signature
        self.batcher = queue
        self.route = tuple(route)
        self._leases = Leases()

    def lease(self) -> AbstractContextManager[None]:
        """Keep the version alive while a request is on its way."""
        return self._leases.one()

    def hold(self, task: "asyncio.Future[Any]") -> None:
        """Keep the version alive until this task is over, from now on and not only once it has begun."""
        self._leases.until(task)

    async def retire(self, within_s: float) -> None:
        """Let the last request have its answer."""
        await self._leases.ended(within_s)
        await self.batcher.close(within_s)
