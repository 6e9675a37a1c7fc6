"""The way of requests that have a key: a sender of its own for each endpoint that keys have led to.

A request is bound to its endpoint when it comes. If that is not ready any more before it has left, it goes to
whoever is.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

from server.domain.errors import ServingError
from server.domain.stage import StageName
from server.scheduling.ticket import Ticket
from server.stages.hop.affinity import Key, choose
from server.stages.hop.endpoints import Endpoints
from server.stages.hop.parcel import Carrier
from server.stages.hop.sender import Sender
from server.stages.hop.way import Way


class Only:
    """`Endpoints` of which one alone is there while it is ready."""

    def __init__(self, address: str, everyone: Endpoints) -> None:
        self._address = address
        self._everyone = everyone

    def ready(self, stage: StageName, model: str, version: int, content: str) -> Sequence[Carrier]:
        links = self._everyone.ready(stage, model, version, content)
        return [link for link in links if link.address == self._address and link.up] or links


def by_key(way: Way, endpoints: Endpoints, sender: Callable[[Endpoints], Sender]) -> Sender:
    """A sender for requests of all kinds: those that have a key meet others of theirs.

    `sender` makes one that leads to these endpoints.
    """
    whole = sender(endpoints)
    whole.keyed = Keyed(way, endpoints, sender)
    return whole


class Keyed:
    """A `server.stages.hop.sender.ByKey`. Lives on the event loop; `close` ends it."""

    def __init__(self, way: Way, endpoints: Endpoints, sender: Callable[[Endpoints], Sender]) -> None:
        """`sender` makes one that leads to these endpoints."""
        self._way = way
        self._endpoints = endpoints
        self._sender = sender
        self._senders: dict[str, Sender] = {}

    def submit(self, ticket: Ticket, key: Key) -> bool:
        """Take a request, unless there is nobody to choose from: then False. Raises as `Sender.submit`."""
        way = self._way
        ready = self._endpoints.ready(way.route[0], way.model, way.version, way.content)
        links = [link for link in ready if link.up]
        now = monotonic()
        links = [link for link in links if not link.outlier.is_out(now)] or links
        if not links:
            return False
        work = {link.address: link.rows + self._waiting(link.address) for link in links}
        address = choose(key, work, ticket.rows)
        if address not in self._senders:
            self._senders = {at: each for at, each in self._senders.items() if at in work or each.is_busy}
            self._senders[address] = self._sender(Only(address, self._endpoints))
        self._senders[address].submit(ticket)
        return True

    def leave(self, ticket: Ticket, error: ServingError) -> None:
        for sender in self._senders.values():
            sender.leave(ticket, error)

    async def close(self, within_s: float) -> None:
        await asyncio.gather(*[sender.close(within_s) for sender in self._senders.values()])

    def _waiting(self, address: str) -> int:
        sender = self._senders.get(address)
        return 0 if sender is None else sender.waiting
