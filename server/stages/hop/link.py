"""The way to one process of another tier: a stream to it is kept open for as long as `run` runs.

A stream whose other side leaves is let finish, while the next one is opened beside it: at the same address
there may be a new process already.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from random import uniform

import grpc
import structlog

from protos import stage_pb2 as pb
from server.domain.errors import TierUnavailable
from server.domain.stage import StageName
from server.observe.copies import Copies
from server.scheduling.ticket import Ticket
from server.stages.hop.channels import PLAIN, Channels
from server.stages.hop.ejection import Outlier
from server.stages.hop.parcel import Parcel, Sent
from server.stages.hop.stream import Stream
from server.wire.heading import Heading

log = structlog.get_logger(__name__)

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # tiers come and go: our own log says so

METHOD = "/tercet.stage.v1.Stage/Exchange"
OPENED_WITHIN_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)


class Link:
    """A `Carrier`. Lives on the event loop; `run` is its one task, which its owner awaits or cancels.

    address    host and port
    stage      of the tier at its end
    up         whether a stream is open, and the other side has answered on it and takes requests
    parcels    that were sent so far, and the requests that they `carried`
    outlier    whether it is to be left alone for a while
    """

    def __init__(
        self,
        address: str,
        stage: StageName,
        *,
        max_requests: int,
        max_bytes: int,
        shared_bytes: int = 2**26,
        host: str = "",
        channels: Channels = PLAIN,
        copies: Copies | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """It holds at most so many requests and bytes, whoever sends them. `changed` hears when `up` is.

        At `shared_bytes` 0 all tensors go on the wire. `host` is how the operator has written the address,
        and `channels` how one is opened to it. `copies` is told of what had to be laid anew.
        """
        self.address = address
        self.stage: StageName = stage
        self.up = False
        self.outlier = Outlier()
        self.parcels = self.carried = 0
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._shared_bytes = shared_bytes
        self._host = host
        self._channels = channels
        self._copies = copies or Copies()
        self._changed = changed
        self._open: Stream | None = None
        self._streams: set[Stream] = set()
        self._finishing: set[asyncio.Task[None]] = set()

    @property
    def rows(self) -> int:
        """That are there, unanswered: the work that lies there."""
        return sum([stream.rows for stream in self._streams])

    @property
    def requests(self) -> int:
        return sum([stream.requests for stream in self._streams])

    @property
    def bytes(self) -> int:
        return sum([stream.bytes for stream in self._streams])

    @property
    def room(self) -> tuple[int, int]:
        """How many requests may go now, and bytes of all but the first."""
        return self._max_requests - self.requests, self._max_bytes - self.bytes

    def takes(self, size: int) -> bool:
        """Whether a request of so many bytes may go now. One alone may, however large."""
        requests = there = 0
        for stream in self._streams:
            requests += stream.requests
            there += stream.bytes
        if not self.up or requests >= self._max_requests:
            return False
        return there + size <= self._max_bytes or not there

    def send(
        self,
        owner: Sent,
        heading: Heading,
        head: pb.Head | None,
        tickets: Sequence[Ticket],
    ) -> Parcel:
        """Send requests; `head` says what they say beside their tensors. Their answers go to the owner.

        Raises `TierUnavailable` if no stream is open.
        """
        if self._open is None:
            raise TierUnavailable(self.stage, owner.model, "there is no connection to it", untouched=True)
        self.parcels += 1
        self.carried += len(tickets)
        return self._open.send(self.parcels, owner, heading, head, tickets)

    def drop(self, parcel: Parcel, ticket: Ticket) -> None:
        """Nobody waits for this one any more; the other side is told."""
        any(stream.drop(parcel, ticket) for stream in self._streams)

    async def run(self) -> None:
        """Keep a stream open, until cancelled."""
        pause_s = FIRST_PAUSE_S
        try:
            while True:
                left = asyncio.Event()
                was_up = asyncio.Event()
                stream = asyncio.create_task(self._once(left, was_up))
                self._finishing.add(stream)
                stream.add_done_callback(self._finishing.discard)
                leaving = asyncio.create_task(left.wait())
                try:
                    await asyncio.wait((stream, leaving), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    leaving.cancel()
                pause_s = FIRST_PAUSE_S if was_up.is_set() else min(LONGEST_PAUSE_S, pause_s * 2)
                if left.is_set():  # there may be another process by now
                    continue
                await asyncio.sleep(uniform(pause_s / 2, pause_s))
        finally:
            for each in list(self._finishing):
                each.cancel()
            await asyncio.gather(*self._finishing, return_exceptions=True)

    async def _once(self, left: asyncio.Event, was_up: asyncio.Event) -> None:
        """Open a stream and serve it until it ends. `left` is set once its other side leaves."""
        stream = Stream(self, self._shared_bytes, self._copies)
        why = "it is being closed"

        def leaves() -> None:
            self._shut(stream)
            left.set()

        try:
            async with self._channels.open(self.address, self._host, OPTIONS) as channel:
                call = channel.stream_stream(METHOD)()
                try:
                    async with asyncio.timeout(OPENED_WITHIN_S):
                        await stream.greet(call)
                    was_up.set()
                    self._streams.add(stream)
                    self._open, self.up = stream, True
                    self._changed()
                    await stream.serve(call, leaves)
                finally:
                    call.cancel()
        except Exception as failure:
            why = _told(failure)
        finally:
            self._shut(stream)
            self._streams.discard(stream)
            stream.close(why)
            log.debug("stream_ended", address=self.address, stage=self.stage, why=why)

    def _shut(self, stream: Stream) -> None:
        """Nothing new goes by this stream."""
        if self._open is stream:
            self._open, self.up = None, False
            self._changed()


def _told(failure: BaseException) -> str:
    """Why a stream ended, in a few words."""
    match failure:
        case TimeoutError():
            return "it did not answer when it was called"
        case grpc.aio.AioRpcError():
            return f"{failure.code().name}: {failure.details()}"
        case _:
            return str(failure) or type(failure).__name__
