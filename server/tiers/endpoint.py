"""One process of another tier: what it says of itself, and the link by which requests go to it.

Its word is heard on a stream (`Stage.Watch`), which is opened again whenever it breaks or is silent. While
nobody hears of it, it is out of sight: nothing new goes to it, and what is on its link may yet be answered.

One that says that it leaves is another matter: whoever takes its place may listen at the same address
already, or will in a moment. Until then it counts as there, for a while, and requests that nobody else can
take wait.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from random import random
from types import MappingProxyType
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from protos import stage_pb2 as pb
from server.domain.backoff import BackOff
from server.domain.stage import StageName
from server.domain.tier import TierReport, VersionReport
from server.stages.hop.channels import PLAIN, Channels
from server.stages.hop.link import Link
from server.tiers.live import Standing
from server.wire.report import report_of

log = structlog.get_logger(__name__)

WATCH = "/tercet.stage.v1.Stage/Watch"
CONTROL = "/tercet.stage.v1.Stage/Control"
HEARD_WITHIN_S = 5.0
"""Of a process that is called: its first word."""

SILENT_S = 6.0
"""A process says something every few seconds; without a word for so long it is out of sight."""

BACK_WITHIN_S = 2.0
"""So long a process that has left is expected to have a successor at its address. A request that has no other
endpoint waits no longer than that."""

LINK_BACK_WITHIN_S = 0.5
"""So long the link to a process that is heard of all the while is expected to be there again."""

SOON_S = 0.03
"""Between two tries to reach a successor: where both share a port, a try may end at the one that leaves."""

AGAIN = BackOff(first_s=0.1, most_s=1.0)
"""One that has started again is to be found within two seconds."""

OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),  # of a port that two processes share, one may just have gone
)

Told = Callable[["Endpoint", Collection[tuple[str, int | None]]], None]
"""Hears which versions an endpoint says something else of than before."""


class Lost(Exception):
    """The stream is over; the sentence says why."""


class Left(Lost):
    """It has said that it leaves, and nothing more is heard of it."""


LOST = (Lost, TimeoutError, grpc.aio.AioRpcError, DecodeError)
"""How a stream ends; also one whose other side is no tier at all."""


class Endpoint:
    """Lives on the event loop. `run` is its one task, which its owner cancels.

    link         to it, which is opened again by itself
    instance     of the process, as long as it is in sight; else empty, as when a successor is expected
    saturation   of the process, as it said last
    why          it is out of sight, or takes no requests; empty where it does
    parted       set while the link is down
    """

    def __init__(
        self,
        stage: StageName,
        address: str,
        *,
        link: Callable[..., Link],
        name: str,
        told: Told,
        host: str = "",
        channels: Channels = PLAIN,
    ) -> None:
        """`link` makes the link; `name` is what this process calls itself where it watches.

        `host` is how the operator has written the address, and `channels` how one is opened to it.
        """
        self.stage = stage
        self.address = address
        self.link = link(address, stage, host=host, channels=channels, changed=self._link_changed)
        self.instance = ""
        self.saturation = 0.0
        self.why = "it has not answered yet"
        self.parted = asyncio.Event()
        self.parted.set()
        self._host = host
        self._channels = channels
        self._name = name
        self._told = told
        self._versions: dict[tuple[str, int | None], VersionReport] = {}
        self._ready = False
        self._expected: asyncio.TimerHandle | None = None

    @property
    def standings(self) -> Sequence[Standing]:
        """What it has said up to now; none while it is out of sight, and no successor is expected."""
        if not self.instance and self._expected is None:
            return ()
        return (
            Standing(
                stage=self.stage,
                address=self.address,
                ready=self.ready,
                versions=MappingProxyType(self._versions),
            ),
        )

    @property
    def ready(self) -> bool:
        """Whether requests can go to it, now or in a moment: `link` says which."""
        return self._ready and (self.link.up or self._expected is not None)

    def keys(self) -> Collection[tuple[str, int | None]]:
        """What it has said anything of."""
        return set(self._versions)

    async def run(self) -> None:
        """Keep the link, and hear what it says, until cancelled."""
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self.link.run(), name=f"link to {self.address}")
                parts.create_task(self._watch(), name=f"watch of {self.address}")
        finally:
            self._expect_no_more()

    async def order(self, order: pb.ControlRequest, within_s: float) -> pb.ControlReply:
        """Have it carry out an order. Raises one of `LOST`."""
        async with self._channels.open(self.address, self._host, OPTIONS) as channel:
            call = channel.unary_unary(CONTROL)
            return pb.ControlReply.FromString(await call(order.SerializeToString(), timeout=within_s))

    async def look_again(self, within_s: float) -> None:
        """Hear all that it has to say by now, beside what comes by itself: for who has just given an order.

        A process that does not answer is lost soon enough, and nothing is raised.
        """
        with suppress(*LOST):
            async with self._watched() as call:
                self._hear(report_of(await _next(call, within_s)))

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[Any]:
        async with self._channels.open(self.address, self._host, OPTIONS) as channel:
            asked = pb.WatchRequest(**{"from": self._name})
            call = channel.unary_stream(WATCH)(asked.SerializeToString())
            try:
                yield call
            finally:
                call.cancel()

    async def _watch(self) -> None:
        failures = 0
        while True:
            was_heard = False
            try:
                async with self._watched() as call:
                    while True:
                        within_s = SILENT_S if was_heard else HEARD_WITHIN_S
                        self._hear(report_of(await _next(call, within_s)))
                        was_heard = True
            except LOST as failure:
                if isinstance(failure, Left) and self.instance:
                    self._part()
                elif self.instance or self._expected is None:
                    self._lose(why_lost(failure))
            if self._expected is not None and not self.instance:
                failures = 0
                await asyncio.sleep(SOON_S)
            else:
                failures = 1 if was_heard else failures + 1
                await asyncio.sleep(AGAIN.wait_s(failures, random()))

    def _hear(self, report: TierReport) -> None:
        """Raises `Left`."""
        if report.leaving:
            raise Left("it is leaving")
        if not self.instance:
            log.info("tier_endpoint_found", stage=self.stage, address=self.address)
        changed: set[tuple[str, int | None]] = set()
        if report.whole:
            changed |= self._versions.keys()
            self._versions.clear()
        for each in report.versions:
            key = (each.model, each.version)
            changed.add(key)
            if each.gone:
                self._versions.pop(key, None)
            else:
                self._versions[key] = each
        was_ready, self.instance, self.saturation = self.ready, report.instance, report.saturation
        self._ready = report.ready
        if report.stage not in (None, self.stage):
            self._ready = False
            self.why = f"it is of the {report.stage} tier, and named among those of the {self.stage} tier"
        else:
            self.why = "" if self._ready else "it is not ready yet, or about to leave"
        if self.link.up:
            self._expect_no_more()
        if self.ready != was_ready:
            changed |= self._versions.keys()
        self._told(self, changed)

    def _part(self) -> None:
        """It leaves: what it has said holds until a successor says otherwise, or none has come."""
        log.info("tier_endpoint_leaves", stage=self.stage, address=self.address)
        self.instance = ""
        self.why = "it has left, and nobody has taken its place"
        self._expect(BACK_WITHIN_S)
        self._told(self, self.keys())

    def _expect(self, within_s: float) -> None:
        self._expect_no_more()
        self._expected = asyncio.get_running_loop().call_later(within_s, self._not_come)

    def _expect_no_more(self) -> None:
        if self._expected is not None:
            self._expected.cancel()
            self._expected = None

    def _not_come(self) -> None:
        self._expected = None
        if self.instance:
            self._told(self, self.keys())
        else:
            self._lose(self.why)

    def _lose(self, why: str) -> None:
        self._expect_no_more()
        if self.instance or self._versions:
            log.warning("tier_endpoint_lost", stage=self.stage, address=self.address, why=why)
        self.why = why
        had, self._versions = self._versions, {}
        self.instance, self._ready = "", False
        self._told(self, had.keys())

    def _link_changed(self) -> None:
        if self.link.up:
            self.parted.clear()
            if self.instance:
                self._expect_no_more()
        else:
            self.parted.set()
            if self.instance:
                self._expect(LINK_BACK_WITHIN_S)
        self._told(self, self.keys())


async def _next(call: Any, within_s: float) -> pb.Report:
    """Raises one of `LOST`."""
    async with asyncio.timeout(within_s):
        message = await call.read()
    if message is grpc.aio.EOF:
        raise Lost("it ended the stream by which it is watched")
    return pb.Report.FromString(message)


def why_lost(failure: BaseException) -> str:
    """In a few words."""
    match failure:
        case TimeoutError():
            return "nothing was heard of it"
        case DecodeError():
            return "it does not speak as a tier does"
        case grpc.aio.AioRpcError():
            return f"{failure.code().name}: {failure.details()}"
        case _:
            return str(failure)
