"""A request of more rows than a run may have goes in pieces, and its answer is one.

The pieces are queued together, and the first that fails fails the request; whoever leaves takes all
of them along. A piece is a ticket like any other, so it shares runs with other requests.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from server.domain.errors import RequestCancelled
from server.domain.tensors import Array, Tensors
from server.observe.tally import Tally
from server.scheduling.batcher import Batcher
from server.scheduling.ticket import Ticket

MakeTicket = Callable[[Tensors, int, Callable[[Ticket], None]], Ticket]
"""Of inputs, their rows, and who is told: with the deadline and all else that goes with the request."""


@dataclass(slots=True)
class JoinedRun:
    """The runs of all pieces as the facts of one: begun with the first, and in the model as long as all.

    rows   of the largest run
    """

    rows: int
    began: int
    inferred: int
    ended: int


def cut(inputs: Tensors, rows: int, most: int) -> list[tuple[Tensors, int]]:
    """Pieces of at most so many rows, in order, all but the last full; views."""
    return [
        ({name: array[at : at + most] for name, array in inputs.items()}, min(most, rows - at))
        for at in range(0, rows, most)
    ]


def join(pieces: list[Ticket]) -> Ticket:
    """The answered pieces of one request as a ticket that is answered; one copy of each output."""
    assert all(piece.outputs is not None for piece in pieces)
    outputs: list[Tensors] = [piece.outputs for piece in pieces if piece.outputs is not None]
    runs = [piece.run for piece in pieces if piece.run is not None]
    joined: dict[str, Array] = {name: np.concatenate([part[name] for part in outputs]) for name in outputs[0]}
    first = min(runs, key=lambda run: run.began)
    whole = Ticket({}, sum(piece.rows for piece in pieces), lambda _: None)
    whole.queued = pieces[0].queued
    whole.answer(
        joined,
        JoinedRun(
            max(run.rows for run in runs),
            first.began,
            first.inferred,
            first.inferred + sum(run.ended - run.inferred for run in runs),
        ),
    )
    return whole


async def through_pieces(
    batcher: Batcher, model: str, tally: Tally, make: MakeTicket, pieces: list[tuple[Tensors, int]]
) -> Ticket:
    """Queue the pieces of one request, and join what comes of them.

    Raises what the first failing piece failed with; cancelled, it takes all queued pieces along.
    """
    answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waited_for = len(pieces)

    def told(piece: Ticket) -> None:
        nonlocal waited_for
        waited_for -= 1
        if (piece.error is not None or not waited_for) and not answered.done():
            answered.set_result(None)

    tickets = [make(inputs, rows, told) for inputs, rows in pieces]
    try:
        for ticket in tickets:
            batcher.submit(ticket)
        await answered
        failed = next((ticket.error for ticket in tickets if ticket.error is not None), None)
        if failed is not None:
            raise failed
    except BaseException:
        tally.uncount(sum(ticket.outputs is not None for ticket in tickets))
        for ticket in tickets:
            if not ticket.settled:
                batcher.leave(ticket, RequestCancelled(model))
        raise
    tally.uncount(len(tickets) - 1)
    whole = join(tickets)
    assert whole.outputs is not None
    batcher.copies.add("pieces", sum([array.nbytes for array in whole.outputs.values()]))
    return whole
