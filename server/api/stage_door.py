"""The door for other tiers: their bundles come in by a stream, and the answers go back by it."""

import asyncio
from typing import Any

import grpc
import structlog

from protos import stage_pb2 as pb
from server.observe.copies import Copies
from server.stages.hop.arena import columns_of
from server.stages.hop.line import Offer
from server.stages.hop.replies import Replies
from server.stages.hop.tier import Tier
from server.wire.bundle import Reader
from server.wire.heading import Broken

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
        stream = _Stream(self._tier, context, Replies(self._tier.stage, self._copies))
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await stream.serve(leaving, self._finish_within_s)
        except Broken as reason:
            log.error("bundle_broken", peer=context.peer(), reason=str(reason))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(reason))
        except TimeoutError:
            log.warning("stream_cut", peer=context.peer(), unanswered=stream.replies.unanswered)
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)


class _Stream:
    """What is said on one stream, and on the line beside it."""

    def __init__(self, tier: Tier, context: Any, replies: Replies) -> None:
        self.replies = replies
        self._tier = tier
        self._context = context
        self._reader = Reader()
        self._offer: Offer | None = None
        self._offered = asyncio.Event()
        self._asker = 0
        self._said_all = asyncio.Event()

    async def serve(self, leaving: "asyncio.Task[Any]", finish_within_s: float) -> None:
        """Until the sender ends it, or `leaving` is done and all is answered.

        Raises `Broken`, or `TimeoutError` if that takes longer than it may.
        """
        replies = self.replies
        reading = asyncio.create_task(self._read())
        writing = asyncio.create_task(replies.run(self._context.write))
        lining = asyncio.create_task(self._line())
        parts = (reading, writing, lining)
        try:
            await asyncio.wait((*parts, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not writing.done() and not lining.done():
                async with asyncio.timeout(finish_within_s):
                    if not reading.done():
                        replies.leave()
                        await self._said_all.wait()
                    await replies.drained()
                    if replies.line is not None:
                        replies.line.close()
                        await lining
            for part in parts:
                if part.done():
                    part.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            if self._offer is not None:
                self._offer.close()
            if replies.line is not None:
                replies.line.cut()
            replies.give_up()

    async def _read(self) -> None:
        try:
            while (message := await self._context.read()) is not grpc.aio.EOF:
                self._hear(message)
        finally:
            self._said_all.set()

    async def _line(self) -> None:
        """Over when a line is that the sender has taken; without one, never."""
        await self._offered.wait()
        assert self._offer is not None
        line = await self._offer.taken(self._asker, self._hear, self.replies.flush)
        self._offer.close()
        if line is None:
            await asyncio.get_running_loop().create_future()
            return
        self.replies.line = line
        try:
            await line.ended()
        finally:
            self._said_all.set()

    def _hear(self, message: bytes) -> None:
        """What the sender says, by whichever way. Raises `Broken`."""
        lone = self._reader.lone_request(message)
        if lone is not None:
            self._tier.take_lone(lone, self.replies)
            return
        bundle = self._reader.unpack(message)
        head = bundle.head
        replies = self.replies
        if head.freed:
            replies.free(head.freed)
        if head.arena_open:
            replies.share()
        if head.HasField("arena"):
            self._greet(head)
        elif head.ids or head.cancelled:
            if head.regions:
                columns = columns_of(head, bundle.columns, replies.theirs, replies.has_read)
                bundle = bundle._replace(columns=columns)
            self._tier.take(bundle, replies)
        elif head.leaving:
            self._said_all.set()
        elif not head.freed and not head.arena_open:
            replies.pong()

    def _greet(self, head: pb.Head) -> None:
        offer = self.replies.greet(head, self._context.peer())
        if offer is not None:
            self._offer, self._asker = offer, head.arena.pid
            self._offered.set()
