"""A version that another server predicts for, asked as a gateway or a pre tier asks it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from server.domain.request import FOREVER, InferRequest
from server.domain.tier import VersionReport
from server.observe.tally import Tally
from server.scheduling.ticket import Ticket
from server.stages.hop.retries import RetryBudget
from server.stages.hop.sender import Sender
from server.stages.hop.way import Way
from server.tiers.foreign import ForeignServer
from server.tiers.foreign_address import ForeignAddress
from tests.lifecycle.waiting import until


@dataclass
class Asking:
    """A version that the server predicts for, as a gateway asks it."""

    sender: Sender
    foreign: ForeignServer
    sent: list[Ticket] = field(default_factory=list)

    def told(self) -> dict[str, VersionReport]:
        """What the server has, by model."""
        self.foreign.stand(())
        (standing,) = self.foreign.standings
        assert standing.ready
        return {report.model: report for report in standing.versions.values()}

    async def ask(self, *, deadline: float = FOREVER, parameters=None, **inputs: np.ndarray):
        """The outputs, or the error raised."""
        answered = asyncio.get_running_loop().create_future()
        rows = len(next(iter(inputs.values())))
        ticket = Ticket(inputs, rows, lambda _: answered.set_result(None), None, deadline, monotonic())
        ticket.request = InferRequest("m", "", inputs, parameters=parameters or {})
        self.sent.append(ticket)
        self.sender.submit(ticket)
        await answered
        if ticket.error is not None:
            raise ticket.error
        return ticket.outputs


@asynccontextmanager
async def asking(address: str, model: str, **limits: int) -> AsyncIterator[Asking]:
    bounds = {"max_requests": 1000, "max_bytes": 2**26, "max_calls": 2, **limits}
    foreign = ForeignServer(ForeignAddress.parse(f"oip://{address}"), lambda way: None, **bounds)
    running = asyncio.create_task(foreign.run())
    try:
        await until(lambda: foreign.link.up)

        class Known:
            def ready(self, *_):
                return [foreign.link]

        way = Way(
            route=("predict",), model=model, version=1, content="", stacked=False, row_bytes=0, max_rows=64
        )
        sender = Sender(way, Known(), tally=Tally(), max_waiting=1000, budget=RetryBudget())
        yield Asking(sender, foreign)
        await sender.close(1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def row(number: float, rows: int = 1) -> np.ndarray:
    return np.full((rows, 4), number, np.float32)
