"""The inference service over gRPC: decode, ask the route, encode.

The methods of `inference.GRPCInferenceService`, as grpcio's asyncio server calls them. Errors leave as the
code of the one table, with the sentence as details.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from protos import inference_pb2 as pb
from server.api.client_key import ClientHeader
from server.api.counted import Statistics
from server.api.forwarding import HeaderForwarding
from server.api.grpc_audit import audited
from server.api.grpc_peer import peer_of
from server.api.grpc_settings import SettingsDoor
from server.api.reply import Table
from server.api.trace_settings import TraceSettings
from server.domain.catalogue import Catalogue
from server.domain.control import Control
from server.domain.errors import InvalidRequest, ModelNotFound, ModelNotReady, ServingError
from server.domain.health import Health
from server.domain.limits import Limits, check_name
from server.domain.phase import Station
from server.domain.request import InferRequest, InferResponse
from server.lifecycle.served import Served
from server.observe.access import AccessLog, Record
from server.observe.audit import AuditLog
from server.observe.logs import ProcessLog
from server.observe.tracing.tracer import Tracer
from server.stages.route import Route
from server.stages.tracing import over
from server.wire import configuration, control, infer_proto, metadata
from server.wire.bounds import check_message
from server.wire.codes import codes_of, sentence_of
from server.wire.statistics import statistics_message

log = structlog.get_logger(__name__)

SERVICE = "inference.GRPCInferenceService"
CODES = {code.value[0]: code for code in grpc.StatusCode}
LAST_BYTES_S = 0.1

LONGEST_DETAILS = 2000
"""Bytes of a sentence, which percent-encoding may treble: clients take 8 KB of headers in all."""
NOT_SENT = b""
"""What a call returns that has been ended with an error."""

NOTHING = pb.ModelInferRequest()
"""Stands for a request that could not be read."""

_NAMES = ("name", "model_name")
"""Where the messages of the unary calls name a model."""

Answer = Callable[[Any, Any], Awaitable[Any]]
M = TypeVar("M", bound=Message)


def parsed(kind: type[M], wire: bytes) -> M:
    """A request out of its bytes. Raises `InvalidRequest`, where grpcio itself would answer UNKNOWN."""
    try:
        return kind.FromString(wire)
    except DecodeError:
        raise InvalidRequest(f"the message cannot be read as {kind.DESCRIPTOR.full_name}") from None


def details_of(error: Exception) -> str:
    """The sentence as it travels, in a header: one that is too long for that loses its middle."""
    sentence = sentence_of(error)
    text = sentence.encode("utf-8", "replace")
    if len(text) <= LONGEST_DETAILS:
        return sentence
    half = LONGEST_DETAILS // 2
    return f"{text[:half].decode(errors='ignore')} [...] {text[-half:].decode(errors='ignore')}"


class GrpcDoor:
    """The service's methods. `handlers` is what a grpcio server is given."""

    def __init__(
        self,
        route: Route,
        catalogue: Catalogue,
        control_: Control,
        health: Health,
        station: Station,
        access: AccessLog | None,
        *,
        name: str,
        version: str,
        extensions: Sequence[str],
        log: ProcessLog,
        traces: TraceSettings,
        codes: Table,
        statistics: Statistics,
        stream_infer: Answer,
        limits: Limits,
        audit: AuditLog,
        forwarding: HeaderForwarding | None = None,
        client_header: ClientHeader | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._audit = audit
        self._route = route
        self._catalogue = catalogue
        self._control = control_
        self._health = health
        self._station = station
        self._access = access
        self._server = (name, version, extensions)
        self._settings = SettingsDoor(log, traces)
        self._statistics = statistics
        self._codes = codes
        self._forwarding = forwarding
        self._client_header = client_header
        self._tracer = tracer
        self._limits = limits
        self._stream_infer = stream_infer
        self._busy = 0
        self._quiet = asyncio.Event()

    async def answered(self, within_s: float) -> None:
        """Wait until no call is being answered, and a little longer, or until the time is over.

        grpcio closes a connection with its last call, and what has come in unread by then makes the system
        throw away what has not gone out: clients of a large answer would lose its end.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._busy:
                    self._quiet.clear()
                    await self._quiet.wait()
        await asyncio.sleep(LAST_BYTES_S)

    def _over(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._quiet.set()

    def handlers(self) -> grpc.GenericRpcHandler:
        methods: dict[str, tuple[Answer, Any]] = {
            "ServerLive": (self.server_live, pb.ServerLiveRequest),
            "ServerReady": (self.server_ready, pb.ServerReadyRequest),
            "ModelReady": (self.model_ready, pb.ModelReadyRequest),
            "ServerMetadata": (self.server_metadata, pb.ServerMetadataRequest),
            "ModelMetadata": (self.model_metadata, pb.ModelMetadataRequest),
            "ModelConfig": (self.model_config, pb.ModelConfigRequest),
            "ModelStatistics": (self.model_statistics, pb.ModelStatisticsRequest),
            "RepositoryIndex": (self.repository_index, pb.RepositoryIndexRequest),
            "RepositoryModelLoad": (self.load, pb.RepositoryModelLoadRequest),
            "RepositoryModelUnload": (self.unload, pb.RepositoryModelUnloadRequest),
            **self._settings.methods(),
        }
        table = {
            method: grpc.unary_unary_rpc_method_handler(
                audited(method, self._guarded(answer, request), self._audit),
                response_serializer=lambda message: message.SerializeToString(),
            )
            for method, (answer, request) in methods.items()
        }
        table["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self.model_infer)
        table["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream_infer)
        return grpc.method_handlers_generic_handler(SERVICE, table)

    async def model_infer(self, wire: bytes, context: Any) -> bytes:
        """Asked and answered in bytes. A client that cancels takes its queued work along."""
        arrived = monotonic()
        message = NOTHING
        served: Served | None = None
        request: InferRequest | None = None
        response: InferResponse | None = None
        status = 0
        self._busy += 1
        try:
            self._station.admit()
            message = parsed(pb.ModelInferRequest, wire)
            if len(wire) > self._limits.harmless_bytes:
                check_message(message, self._limits)
            served = self._route.find(message.model_name, message.model_version)
            request, form = infer_proto.decode(message, served.facts.signature, now=arrived)
            if self._forwarding is not None:
                self._forwarding.add(request, context.invocation_metadata())
            if self._client_header is not None:
                request.client = self._client_header.find(context.invocation_metadata())
            left = context.time_remaining()
            if left is not None:
                request.deadline = min(request.deadline, arrived + left)
            if self._tracer is not None:
                asked = context.invocation_metadata()
                request.trace = self._tracer.begin_by(request.model, arrived, asked)
            response = await self._route.infer(served, request)
            return infer_proto.encode(response, form, served.facts.labels)
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED.value[0]
            raise
        except Exception as error:
            status = end_with(context, error, self._codes)
            return NOT_SENT
        finally:
            self._over()
            if request is not None and request.trace is not None:
                over(request, "grpc", peer_of(context), status)
            if self._access is not None:
                line = access_line(arrived, peer_of(context), message, served, request, response, status)
                self._access.record(line)

    async def server_live(self, _: Any, context: Any) -> Any:
        return pb.ServerLiveResponse(live=self._health.live)

    async def server_ready(self, _: Any, context: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._health.ready)

    async def model_ready(self, message: Any, context: Any) -> Any:
        try:
            self._catalogue.facts(message.name, message.version).check()
        except (ModelNotFound, ModelNotReady):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def server_metadata(self, _: Any, context: Any) -> Any:
        return metadata.server_metadata_message(*self._server)

    async def model_metadata(self, message: Any, context: Any) -> Any:
        facts = self._catalogue.facts(message.name, message.version)
        versions = [facts.version] if message.version else self._catalogue.ready_versions(message.name)
        return metadata.model_metadata_message(facts, versions)

    async def model_config(self, message: Any, context: Any) -> Any:
        return configuration.model_config_response(self._catalogue.facts(message.name, message.version))

    async def model_statistics(self, message: Any, context: Any) -> Any:
        return statistics_message(await self._statistics.of(message.name, message.version))

    async def repository_index(self, message: Any, context: Any) -> Any:
        return metadata.repository_index_message(self._catalogue.index(), control.index_of(message))

    async def load(self, message: Any, context: Any) -> Any:
        overrides = control.load_of(message)
        await self._control.load(message.model_name, overrides.config, overrides.files, overrides.version)
        return pb.RepositoryModelLoadResponse()

    async def unload(self, message: Any, context: Any) -> Any:
        asked = control.unload_of(message)
        await self._control.unload(message.model_name, asked.version, dependents=asked.dependents)
        return pb.RepositoryModelUnloadResponse()

    def _guarded(self, answer: Answer, request: type[Message]) -> Answer:
        names = [name for name in _NAMES if name in request.DESCRIPTOR.fields_by_name]

        async def call(wire: bytes, context: Any) -> Any:
            self._busy += 1
            try:
                message = parsed(request, wire)
                for field in names:
                    check_name(getattr(message, field), "the model", self._limits)
                return await answer(message, context)
            except Exception as error:
                end_with(context, error, self._codes)
                return NOT_SENT
            finally:
                self._over()

        return call


def end_with(context: Any, error: Exception, codes: Table) -> int:
    """Have a call end with the error's code, which is returned.

    grpcio's `abort` would raise, and its exception keep the whole request until the collector comes.
    """
    if not isinstance(error, ServingError):
        log.error("request_crashed", exc_info=error)
    code = codes_of(error, codes).grpc
    context.set_code(CODES[code])
    context.set_details(details_of(error))
    return code


def access_line(
    arrived: float,
    peer: str,
    message: pb.ModelInferRequest,
    served: Served | None,
    request: InferRequest | None,
    response: InferResponse | None,
    code: int,
) -> Record:
    """What is known of a `ModelInfer` that is over, as far as it came; `message` for what it did not read."""
    ended = monotonic()
    if request is None or served is None:
        version = message.model_version if served is None else served.version
        what = (message.id, "grpc", message.model_name, version, 0, code)
    else:
        what = (request.id, "grpc", request.model, served.version, request.rows, code)
    if response is None:
        return (arrived, ended, peer, what, 0, 0, 0)
    return (arrived, ended, peer, what, response.batch_rows, response.queue_ns, response.compute_ns)


class PortRefused(Exception):
    """The address cannot be listened on."""
