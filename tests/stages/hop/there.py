"""Another tier, in this process: a real gRPC server on loopback over a real lifecycle."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import numpy as np

from server.api.stage_door import StageDoor
from server.domain.catalogue import VersionFacts
from server.domain.phase import Phase, Station
from server.domain.request import InferRequest, InferResponse
from server.domain.stage import StageName
from server.lifecycle.remote import RemoteVersion
from server.lifecycle.table import Table
from server.observe.tally import Tally
from server.stages.hop.forwarding import Forwarding
from server.stages.hop.hedging import Hedges
from server.stages.hop.link import Link
from server.stages.hop.retries import RetryBudget
from server.stages.hop.sender import Sender
from server.stages.hop.tier import Tier
from server.stages.hop.way import Way
from server.stages.pool import Pool
from server.stages.route import Route
from tests.lifecycle.waiting import until


class Known:
    """Endpoints that are told, and not found."""

    def __init__(self, *links: Link) -> None:
        self.links = list(links)

    def ready(self, stage: StageName, model: str, version: int, content: str) -> Sequence[Link]:
        return [link for link in self.links if link.stage == stage]


class There:
    """One process of a tier: its port, and the ways to end it."""

    def __init__(self, table: Table, pool: Pool, stage: StageName, ahead: Known) -> None:
        self.station = Station()
        self.station.move_to(Phase.SERVING)
        self.closing = asyncio.Event()
        self.tier = Tier(
            stage,
            table,
            Route(table, pool),
            Forwarding(ahead, max_waiting=1000),
            self.station,
            max_in_flight=1000,
        )
        self.port = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        door = StageDoor(self.tier, self.closing, finish_within_s=10)
        self._server.add_generic_rpc_handlers((door.handlers(),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def die(self) -> None:
        """As a process does that is killed: nothing is answered any more."""
        assert self._server is not None
        await self._server.stop(None)

    async def leave(self) -> None:
        """As on SIGTERM."""
        self.station.move_to(Phase.STOPPING)
        self.closing.set()
        assert self._server is not None
        await self._server.stop(10)


@asynccontextmanager
async def there(
    table: Table, pool: Pool, stage: StageName = "predict", ahead: Known | None = None, port: int = 0
) -> AsyncIterator[There]:
    other = There(table, pool, stage, ahead or Known())
    other.port = port
    await other.start()
    try:
        yield other
    finally:
        await other.die()


@asynccontextmanager
async def linked(other: There, port: int = 0, **limits: int) -> AsyncIterator[Link]:
    """The stream to it, open. `port` is of who passes on to it, if somebody does."""
    bounds = {"max_requests": 1000, "max_bytes": 2**26, **limits}
    link = Link(f"127.0.0.1:{port or other.port}", other.tier.stage, **bounds)
    running = asyncio.create_task(link.run())
    try:
        await until(lambda: link.up)
        yield link
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class Here:
    """A gateway with one version, as far as requests see it."""

    def __init__(
        self,
        table: Table,
        pool: Pool,
        known: Known,
        route: tuple[StageName, ...],
        patience_s: float = 0.0,
        hedge_ms: float | None = None,
    ) -> None:
        served = table.find("m", "")
        self.tally = Tally()
        signature = served.facts.signature
        way = Way(
            route=route,
            model="m",
            version=served.facts.version,
            content=served.content.whole,
            stacked=not signature.max_batch_size,
            row_bytes=0,
            max_rows=64,
            hedge_ms=hedge_ms,
        )
        self.hedges = Hedges()
        self.sender = Sender(
            way,
            known,
            tally=self.tally,
            max_waiting=1000,
            budget=RetryBudget(),
            hedges=self.hedges,
            patience_s=patience_s,
        )
        facts = VersionFacts(
            model="m",
            version=served.facts.version,
            platform=served.facts.platform,
            config=served.facts.config,
            signature=signature,
            tally=self.tally,
            devices=(),
            load_seconds=0.0,
        )
        self.served = RemoteVersion(facts=facts, content=served.content, queue=self.sender, route=route)
        self.route = Route(table, pool)

    async def ask(self, request: InferRequest | None = None, **inputs: np.ndarray) -> InferResponse:
        return await self.route.infer(self.served, request or InferRequest("m", "", dict(inputs)))
