"""A process of a tier whose word is a test's: a real gRPC server on loopback, which has no model at all."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import grpc

from server.api.counted import Counted
from server.api.stage_door import StageDoor
from server.api.tier_door import TierDoor
from server.domain.phase import Phase, Station
from server.domain.stage import StageName
from server.domain.tier import TierReport, VersionReport
from server.lifecycle.table import Table
from server.stages.hop.forwarding import Forwarding
from server.stages.hop.tier import Tier
from server.stages.pool import Pool
from server.stages.route import Route
from tests.stages.hop.there import Known


class Told:
    """Stands where `server.tiers.report.Reports` does: says what it is told to say, to all who listen."""

    def __init__(self, stage: StageName) -> None:
        self._stage: StageName = stage
        self._instance = uuid4().hex
        self._versions: tuple[VersionReport, ...] = ()
        self._ready = True
        self._is_leaving = False
        self._news: set[asyncio.Queue[TierReport]] = set()

    def say(self, *versions: VersionReport, ready: bool = True) -> None:
        """All that there is from now on."""
        self._versions, self._ready = versions, ready
        for listener in self._news:
            listener.put_nowait(self._report())

    def leave(self) -> None:
        """Its last word, to all who listen, and to all who come."""
        self._is_leaving = True
        for listener in self._news:
            listener.put_nowait(self._report())

    def _report(self) -> TierReport:
        return TierReport(
            instance=self._instance,
            stage=self._stage,
            whole=True,
            versions=self._versions,
            ready=self._ready and not self._is_leaving,
            leaving=self._is_leaving,
            saturation=0.5,
        )

    async def listen(self) -> AsyncGenerator[TierReport, None]:
        news: asyncio.Queue[TierReport] = asyncio.Queue()
        self._news.add(news)
        try:
            report = self._report()
            yield report
            while not report.leaving:
                report = await news.get()
                yield report
        finally:
            self._news.discard(news)


class Process:
    """`address` is where it listens, until `die` or `leave`."""

    def __init__(self, stage: StageName, host: str, port: int) -> None:
        self.told = Told(stage)
        self.host = host
        self.port = port
        self._stage: StageName = stage
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def start(self) -> None:
        table, station, pool = Table(), Station(), Pool(1, 1)
        station.move_to(Phase.SERVING)
        tier = Tier(
            self._stage,
            table,
            Route(table, pool),
            Forwarding(Known(), max_waiting=1),
            station,
            max_in_flight=1,
        )
        doors = (
            StageDoor(tier, asyncio.Event(), finish_within_s=1),
            TierDoor(self._stage, self.told, None, Counted(None)),
        )
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(tuple(door.handlers() for door in doors))
        self.port = self._server.add_insecure_port(self.address)
        await self._server.start()

    async def die(self) -> None:
        assert self._server is not None
        await self._server.stop(None)


@asynccontextmanager
async def process(stage: StageName, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Process]:
    made = Process(stage, host, port)
    await made.start()
    try:
        yield made
    finally:
        await made.die()
