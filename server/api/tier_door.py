"""The door by which gateways know a tier: what it has, and orders to it.

`Watch` and `Control` of `protos/stage.proto`; `Exchange` has a door of its own (`server.api.stage_door`).
"""

from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Any

import grpc
import structlog

from protos import stage_pb2 as pb
from server.api.counted import Statistics
from server.api.grpc_door import end_with, parsed
from server.api.stage_door import SERVICE
from server.domain.control import Control
from server.domain.errors import InvalidRequest, ServerStopping, ServingError
from server.domain.stage import StageName
from server.tiers.report import Reports
from server.wire.codes import CODES
from server.wire.fault import fault_of
from server.wire.report import report_message
from server.wire.statistics import statistics_message

log = structlog.get_logger(__name__)


class TierDoor:
    """Bytes in, bytes out, for grpcio's asyncio server.

    stage   where errors are said to come from
    hold    hears which leaving versions a gateway cannot do without yet
    take_back   hears of a content (model, version, content, why) that another process has taken back
    """

    def __init__(
        self,
        stage: StageName,
        reports: Reports,
        control: Control,
        statistics: Statistics,
        hold: Callable[[Iterable[tuple[str, int]]], object] = lambda versions: None,
        take_back: Callable[[str, int, str, str], object] = lambda model, version, content, why: None,
    ) -> None:
        self._stage: StageName = stage
        self._reports = reports
        self._control = control
        self._statistics = statistics
        self._hold = hold
        self._take_back = take_back

    def handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Watch": grpc.unary_stream_rpc_method_handler(self.watch),
                "Control": grpc.unary_unary_rpc_method_handler(self.control),
            },
        )

    async def watch(self, wire: bytes, context: Any) -> None:
        """Tell what this process has, until the caller leaves or nothing new is taken."""
        try:
            asked = parsed(pb.WatchRequest, wire)
            log.info("tier_watched", by=getattr(asked, "from"), peer=context.peer())
            async with aclosing(self._reports.listen()) as reports:
                async for report in reports:
                    await context.write(report_message(report).SerializeToString())
            raise ServerStopping()
        except grpc.aio.InternalError:  # the watcher is gone, and we are about to be told so
            return
        except ServingError as error:
            end_with(context, error, CODES)

    async def control(self, wire: bytes, context: Any) -> bytes:
        """Carry an order out; what is refused is told in the reply, as what it is."""
        reply = pb.ControlReply()
        try:
            await self._carry_out(parsed(pb.ControlRequest, wire), reply)
        except Exception as error:
            if not isinstance(error, ServingError):
                log.error("order_crashed", exc_info=error)
            reply.fault.CopyFrom(fault_of(error, self._stage))
        return reply.SerializeToString()

    async def _carry_out(self, asked: pb.ControlRequest, reply: pb.ControlReply) -> None:
        match asked.WhichOneof("order"):
            case "load":
                load = asked.load
                version = load.version if load.HasField("version") else None
                await self._control.load(load.model, load.config or None, dict(load.files), version)
            case "unload":
                unload = asked.unload
                version = unload.version if unload.HasField("version") else None
                await self._control.unload(unload.model, version, dependents=unload.dependents)
            case "statistics":
                of = asked.statistics
                found = await self._statistics.of(of.model, of.version)
                reply.statistics = statistics_message(found).SerializeToString()
            case "hold":
                self._hold([(each.model, each.version) for each in asked.hold.versions])
            case "take_back":  # in every control mode: what was decided in this tier is no order from outside
                back = asked.take_back
                self._take_back(back.model, back.version, back.content, back.reason)
            case _:
                raise InvalidRequest("the order is none that this release knows")
