"""The door for other tiers: their bundles come in by a stream, and the answers go back by it."""

import asyncio
from typing import Any

import grpc
import structlog

from server.observe.copies import Copies
from server.stages.hop.arena import columns_of
from server.stages.hop.replies import Replies
from server.stages.hop.tier import Tier
from server.wire.bundle import Broken, unpack

log = structlog.get_logger(__name__)

SERVICE = "tercet.stage.v1.Stage"


class StageDoor:
    """`Exchange` of `protos/stage.proto`, for grpcio's asyncio server.

    leaving           set when nothing new is to come: streams end once all that is on them is answered
    finish_within_s   how long that may take
    copies            is told of what answers had to lay anew
    """

    def __init__(
        self, tier: Tier, leaving: asyncio.Event, *, finish_within_s: float, copies: Copies | None = None
    ) -> None:
        self._tier = tier
        self._copies = copies or Copies()
        self._leaving = leaving
        self._finish_within_s = finish_within_s

    def handlers(self) -> grpc.GenericRpcHandler:
        exchange: Any = grpc.stream_stream_rpc_method_handler(self.exchange)  # bytes in, bytes out
        return grpc.method_handlers_generic_handler(SERVICE, {"Exchange": exchange})

    async def exchange(self, _: Any, context: Any) -> None:
        """One stream, until its sender ends it, breaks off, or this process goes."""
        if self._leaving.is_set():  # its sender could not tell this from the end of one that was open
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
        replies = Replies(self._tier.stage, self._copies)
        said_all = asyncio.Event()
        reading = asyncio.create_task(self._read(context, replies, said_all))
        writing = asyncio.create_task(replies.run(context.write))
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait((reading, writing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not writing.done():
                async with asyncio.timeout(self._finish_within_s):
                    if not reading.done():
                        replies.leave()
                        await said_all.wait()
                    await replies.drained()
            for task in (reading, writing):
                if task.done():
                    task.result()
        except Broken as reason:
            log.error("bundle_broken", peer=context.peer(), reason=str(reason))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(reason))
        except TimeoutError:
            log.warning("stream_cut", peer=context.peer(), unanswered=replies.unanswered)
        finally:
            for part in (reading, writing, leaving):
                part.cancel()
            await asyncio.gather(reading, writing, leaving, return_exceptions=True)
            replies.give_up()

    async def _read(self, context: Any, replies: Replies, said_all: asyncio.Event) -> None:
        try:
            await self._hear(context, replies, said_all)
        finally:
            said_all.set()

    async def _hear(self, context: Any, replies: Replies, said_all: asyncio.Event) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            head, columns = unpack(message)
            replies.free(head.freed)
            if head.arena_open:
                replies.share()
            if head.HasField("arena"):
                replies.greet(head.arena)
            elif head.ids or head.cancelled:
                self._tier.take(head, columns_of(head, columns, replies.theirs, replies.has_read), replies)
            elif head.leaving:
                said_all.set()
            elif not head.freed and not head.arena_open:
                replies.pong()
