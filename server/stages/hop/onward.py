"""What a pre tier that was asked by a client does next: it goes on to the predict tier, as for a gateway."""

import asyncio

from server.domain.errors import RequestCancelled
from server.domain.request import InferRequest
from server.domain.tensors import Tensors
from server.lifecycle.part_version import PartVersion
from server.scheduling.ticket import Ticket
from server.stages.hop.blame import blamed
from server.stages.hop.forwarding import Forwarding
from server.stages.hop.hedging import hedge_ms_of
from server.stages.hop.way import Way
from server.stages.tracing import hopped

TOGETHER = 64
"""Requests of one version in a parcel, at most."""


class Onward:
    """Answers `server.stages.alone.Onward`."""

    def __init__(self, forwarding: Forwarding) -> None:
        self._forwarding = forwarding

    async def go(self, served: PartVersion, request: InferRequest, tensors: Tensors) -> Tensors:
        facts = served.facts
        route = served.stages[served.stages.index(served.stage) + 1 :]
        way = Way(
            route=route,
            model=facts.model,
            version=facts.version,
            content=served.content.whole,
            stacked=True,
            row_bytes=0,
            max_rows=TOGETHER,
            hedge_ms=hedge_ms_of(route, facts.config),
        )
        sender = self._forwarding.sender(way)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def told(_: Ticket) -> None:
            if not answered.done():
                answered.set_result(None)

        ticket = Ticket(
            tensors, max(1, request.rows), told, (), request.deadline, 0.0, request.priority, request.client
        )
        ticket.request = request
        sender.submit(ticket)
        try:
            await answered
        except asyncio.CancelledError:
            sender.leave(ticket, RequestCancelled(facts.model))
            raise
        if request.trace is not None:
            hopped(request.trace, ticket, way.route[0])
        if ticket.own is None:
            assert ticket.error is not None
            raise blamed(ticket.error, facts, request.id)
        return ticket.own
