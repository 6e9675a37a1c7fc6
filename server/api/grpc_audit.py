"""The audit line of what is ordered over gRPC."""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from protos import inference_pb2 as pb
from server.api.grpc_peer import peer_of
from server.observe.audit import DONE, FAILED, AuditLog
from server.security.caller import ANONYMOUS
from server.security.calls import SERVICE, grpc_call

ORDERS: Mapping[str, type[Message]] = {
    "RepositoryModelLoad": pb.RepositoryModelLoadRequest,
    "RepositoryModelUnload": pb.RepositoryModelUnloadRequest,
    "LogSettings": pb.LogSettingsRequest,
    "TraceSetting": pb.TraceSettingRequest,
}
"""The methods that are audited, with what they take."""

asking: ContextVar[str] = ContextVar("asking", default=ANONYMOUS)
"""Who makes the call that this task answers: the gate says so."""

Behaviour = Callable[[bytes, Any], Awaitable[Any]]


def audited(method: str, behaviour: Behaviour, audit: AuditLog) -> Behaviour:
    """The same answer to a method of the inference service, and a line about it if it is an order."""
    if method not in ORDERS:
        return behaviour
    order = grpc_call(SERVICE + method).order

    async def answer(wire: bytes, context: Any) -> Any:
        failed = True
        try:
            reply = await behaviour(wire, context)
            failed = False
            return reply
        finally:
            code = context.code()
            number = code.value[0] if isinstance(code, grpc.StatusCode) else int(code or 0)
            number = number or (grpc.StatusCode.UNKNOWN.value[0] if failed else 0)
            outcome = FAILED if number else DONE
            model = model_of(method, wire)
            audit.record(asking.get(), order, model, "grpc", peer_of(context), number, outcome)

    return answer


def model_of(method: str, wire: bytes) -> str:
    """The model that an order is about; empty for one about none, or that cannot be read."""
    kind = ORDERS.get(method.rpartition("/")[2])
    try:
        message: Any = None if kind is None else kind.FromString(wire)
    except DecodeError:
        return ""
    return str(getattr(message, "model_name", ""))
