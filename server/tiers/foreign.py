"""Watches another server of the Open Inference Protocol, and tells of it as a predict tier tells of itself.

It is asked again and again, for it cannot be asked to tell. What it has is in its repository index; a server
without one, such as KServe's, is asked for the models that the operator has named.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from time import monotonic, time
from typing import Any

import grpc
import structlog

from protos import inference_pb2 as pb
from server.domain.stage import StageName
from server.domain.state import State
from server.domain.tier import VersionReport
from server.lifecycle.remote import Queue
from server.observe.copies import Copies
from server.stages.foreign.link import OPTIONS, ForeignLink
from server.stages.hop.channels import PLAIN, Channels
from server.stages.hop.way import Way
from server.tiers.foreign_address import SCHEME, ForeignAddress
from server.tiers.foreign_answers import Behind, ForeignVersion, apart
from server.tiers.live import Standing

log = structlog.get_logger(__name__)

SERVICE = "/inference.GRPCInferenceService/"
POLL_S = 1.0
POLL_WHILE_DOWN_S = 0.25
ANSWERED_WITHIN_S = 2.0
SILENT_S = 10.0
"""Without an answer it is lost. It may be so long without one that is only hard at work."""

READ_AGAIN_EVERY = 30
"""Rounds: so often what a version takes and gives is asked again, for it may have changed unseen."""

Named = tuple[str, str]
"""A model and its version, as the server writes them."""


class ForeignServer:
    """One server, with the face of an `Endpoint`. `run` is its one task, which its owner cancels.

    link         the way of requests to it
    instance     its address, as long as it answers; else empty
    why          it is out of sight, or takes no requests; empty where it does
    standings    what it has, as if it had said so itself: one where all versions have one content, and more
                 where some are there with several
    saturation   never told
    """

    stage: StageName = "predict"
    saturation = 0.0

    def __init__(
        self,
        at: ForeignAddress,
        ahead: Callable[[Way], Queue],
        *,
        max_requests: int,
        max_bytes: int,
        max_calls: int,
        channels: Channels = PLAIN,
        copies: Copies | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` hears when it says something else than before; `channels` is how it is reached."""
        self.address = at.address
        self.link = ForeignLink(
            at.address,
            ahead,
            max_requests=max_requests,
            max_bytes=max_bytes,
            max_calls=max_calls,
            channels=channels,
            copies=copies,
        )
        self._channels = channels
        self.instance = ""
        self.why = "it has not answered yet"
        self.standings: Sequence[Standing] = ()
        self._at = at
        self._changed = changed
        self._indexed = True
        self._has: dict[Named, tuple[ForeignVersion, float]] = {}
        self._lacks: tuple[VersionReport, ...] = ()
        self._behind = Behind()
        self._heard = 0.0
        self._rounds = 0

    @property
    def ready(self) -> bool:
        """Whether requests can go to it."""
        return bool(self.instance) and self.link.up

    def keys(self) -> Collection[tuple[str, int | None]]:
        """What it has said anything of."""
        return {key for standing in self.standings for key in standing.versions}

    def stand(self, others: Iterable[VersionReport] | None) -> None:
        """Work out what it is to our tiers by now.

        `others` are what these have, None while not all of them have told: what has code before or behind it
        is never asked without. A version is there once for each content that they have.
        """
        reports = self._behind.reports(self._has.values(), None if others is None else list(others))
        self.standings = [
            Standing(stage=self.stage, address=self.address, ready=self.ready, versions=layer)
            for layer in apart([*reports, *self._lacks])
            if self.instance
        ]

    async def run(self) -> None:
        """Keep the link, and ask how the server is, until cancelled."""
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self.link.run())
            while True:
                await self._watch()
                await asyncio.sleep(POLL_WHILE_DOWN_S)

    async def _watch(self) -> None:
        """Ask over one connection, until it is of no use any more."""
        async with self._channels.open(self.address, "", OPTIONS) as channel:
            while True:
                try:
                    await self._round(channel)
                    self._heard = monotonic()
                except grpc.aio.AioRpcError as status:
                    silent_s = monotonic() - self._heard
                    busy = status.code() is grpc.StatusCode.DEADLINE_EXCEEDED and silent_s < SILENT_S
                    if not (self.instance and busy):
                        self._lost(f"{status.code().name}: {status.details()}", silent_s > SILENT_S)
                        return
                await asyncio.sleep(POLL_S)

    def _lost(self, why: str, silent: bool) -> None:
        self.why = why
        if self.instance:
            log.warning("foreign_server_lost", address=self.address, why=why)
            self.instance = ""
            self.link.up = False
            if silent:
                self.link.hang_up(why)
            self._changed()

    async def _round(self, channel: grpc.aio.Channel) -> None:
        """Ask everything once. Raises `AioRpcError` if the server does not answer."""
        before = self.instance, self.link.up, dict(self._has), self._lacks
        ready = await _ask(channel, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)
        again = self._rounds % READ_AGAIN_EVERY == 0
        self._rounds += 1
        names, self._lacks = await self._names(channel)
        read = {}
        for name in names:
            known = self._has.get(name)
            if known is None or again:
                told = await self._read(channel, name)
                if told is None:
                    continue
                known = known if known is not None and known[0] == told else (told, time())
            read[name] = known
        self._has = read
        self.link.batching = {name: told.max_batch_size for name, (told, _) in read.items()}
        if not self.instance:
            log.info("foreign_server_found", address=self.address, models=sorted({m for m, _ in read}))
        self.instance = SCHEME + self.address
        self.link.up = ready.ready
        self.why = "" if ready.ready else "it is not ready yet, or about to leave"
        if before != (self.instance, self.link.up, self._has, self._lacks):
            self._changed()

    async def _names(self, channel: grpc.aio.Channel) -> tuple[list[Named], tuple[VersionReport, ...]]:
        """Those that it has ready, and what it says of the others."""
        if self._indexed:
            try:
                index = await _ask(
                    channel, "RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse
                )
            except grpc.aio.AioRpcError as status:
                if status.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise
                self._indexed = False
                if not self._at.models:
                    log.error("foreign_models_unnamed", address=self.address, write="?model=NAME")
            else:
                return self._sorted(index)
        ready = []
        for model in self._at.models:
            answer = await _told(
                channel, "ModelReady", pb.ModelReadyRequest(name=model), pb.ModelReadyResponse
            )
            if answer is not None and answer.ready:
                ready.append((model, ""))
        return ready, ()

    def _sorted(self, index: pb.RepositoryIndexResponse) -> tuple[list[Named], tuple[VersionReport, ...]]:
        ready, lacking = [], []
        for line in index.models:
            if self._at.models and line.name not in self._at.models:
                continue
            if line.version and not line.version.isdecimal():
                continue  # a version that no request here could name
            if line.state == State.READY:
                ready.append((line.name, line.version))
            elif line.version and line.state in tuple(State):
                lacking.append(
                    VersionReport(
                        model=line.name,
                        version=int(line.version),
                        state=State(line.state),
                        reason=line.reason,
                        stages=("predict",),
                    )
                )
        return ready, tuple(lacking)

    async def _read(self, channel: grpc.aio.Channel, name: Named) -> ForeignVersion | None:
        """What a version takes and gives; None if it is not there any more."""
        model, version = name
        metadata = await _told(
            channel,
            "ModelMetadata",
            pb.ModelMetadataRequest(name=model, version=version),
            pb.ModelMetadataResponse,
        )
        config = await _told(
            channel, "ModelConfig", pb.ModelConfigRequest(name=model, version=version), pb.ModelConfigResponse
        )
        if metadata is None:
            return None
        return ForeignVersion(
            model=model,
            version=version,
            metadata=metadata,
            config=None if config is None else config.config,
        )


async def _ask(channel: grpc.aio.Channel, method: str, request: Any, answer: Any) -> Any:
    call = channel.unary_unary(
        SERVICE + method,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    return await call(request, timeout=ANSWERED_WITHIN_S)


async def _told(channel: grpc.aio.Channel, method: str, request: Any, answer: Any) -> Any:
    """The answer; None where the server has no such call, or not what it is asked for."""
    try:
        return await _ask(channel, method, request, answer)
    except grpc.aio.AioRpcError as status:
        if status.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) and (
            "not ready" not in (status.details() or "").lower()
        ):
            raise
        return None
