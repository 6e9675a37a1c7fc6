"""A real model behind a real route, in the test's own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from server.domain.offer import ModelOffer
from server.domain.request import InferRequest, InferResponse
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
from server.observe.tally import Tally
from server.stages.pool import Pool
from server.stages.route import Route


class Tier:
    """A manager with one model, and the route to it."""

    def __init__(self, manager: Manager, pool: Pool) -> None:
        self.manager = manager
        self._route = Route(manager.table, pool)

    async def serve(self, *offers: ModelOffer) -> None:
        self.manager.apply({offer.name: offer for offer in offers}, [offer.name for offer in offers])
        await self.manager.settle("m")

    @property
    def tally(self) -> Tally:
        return self.manager.facts("m").tally

    async def ask(self, *, within_s: float | None = None, **request) -> InferResponse:
        """Ask the model m; `request` has the inputs, or `inputs` and other facts of an `InferRequest`."""
        facts = request if "inputs" in request else {"inputs": request}
        now = monotonic()
        deadline = {} if within_s is None else {"deadline": now + within_s}
        asked = InferRequest(**{"model": "m", "version": "", **facts}, **deadline, arrived=now)
        return await self._route.infer(self._route.find(asked.model, asked.version), asked)


@asynccontextmanager
async def tier(*, threads: int = 2, waiting: int = 10) -> AsyncIterator[Tier]:
    loader = Loader(cpu_budget=1, max_queue_size=100)
    pool = Pool(threads, waiting)
    async with Manager(loader, load_threads=2, retire_within_s=10) as manager:
        yield Tier(manager, pool)
    pool.close()
