"""What the hop may cost for one request, in function calls: the gate that needs no clock, as doors have one.

Both ends are in this process, on a real line between them; the event loop's thread counts the calls of both.
"""

import asyncio
import sys
from pathlib import Path
from time import monotonic

import numpy as np
import uvloop

from server.domain.configuration import ModelConfig
from server.scheduling.ticket import Ticket
from server.stages.pool import Pool
from tests.lifecycle.shelf import Shelf
from tests.lifecycle.waiting import until
from tests.stages.hop.there import Here, Known, linked, there
from tests.stages.tier import tier

CALLS_PER_REQUEST = 262
"""From the sender's queue to its answer, both ends and a run in place: a few above what was counted."""

REQUESTS = 2_000


class Counter:
    """Counts calls, Python's and C's."""

    def __init__(self) -> None:
        self.calls = 0

    def see(self, frame: object, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            self.calls += 1


async def counted(folder: Path, pool: Pool) -> float:
    shelf = Shelf(folder)
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=ModelConfig(name="m", max_batch_size=32)))
        table = at.manager.table
        async with there(table, pool) as other, linked(other) as link:
            await until(lambda: link._open is not None and link._open._line is not None)
            sender = Here(table, pool, Known(link), ("predict",)).sender
            inputs = {"x": np.ones((1, 2), np.float32)}
            for _ in range(100):
                await asked(sender, inputs)
            counter = Counter()
            sys.setprofile(counter.see)
            try:
                for _ in range(REQUESTS):
                    await asked(sender, inputs)
            finally:
                sys.setprofile(None)
            return counter.calls / REQUESTS


async def asked(sender, inputs) -> None:
    answer: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
    sender.submit(Ticket(inputs, 1, answer.set_result, (), arrived=monotonic()))
    assert (await answer).own["y"].tolist() == [[2, 2]]


def test_a_request_alone_keeps_within_the_call_budget_of_the_hop(tmp_path, pool):
    found = uvloop.run(counted(tmp_path / "m", pool))
    print(found)
    assert 60 < found <= CALLS_PER_REQUEST
