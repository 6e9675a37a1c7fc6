"""The gate before every method of grpcio's server, and the audit line of who is stopped there."""

from typing import Any

import grpc

from server.api.grpc_audit import asking, model_of
from server.api.grpc_door import end_with
from server.api.grpc_peer import peer_of
from server.api.reply import Table
from server.domain.errors import NotAllowed, NotKnown, ServingError
from server.observe.audit import DENIED, AuditLog
from server.security.caller import ANONYMOUS
from server.security.calls import STAGE_SERVICE, grpc_call
from server.security.gate import Gate
from server.security.rights import Call

UNKNOWN = "unknown"


class GrpcGate(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Of who is not known nothing is read, so the audit line of their orders names no model.

    stages_open   whether the tiers' own service is open: they are known by their certificates, or by nothing
    """

    def __init__(self, gate: Gate, audit: AuditLog, codes: Table, *, stages_open: bool) -> None:
        self._gate = gate
        self._audit = audit
        self._codes = codes
        self._stages_open = stages_open

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        call = grpc_call(details.method)
        try:
            if details.method.startswith(STAGE_SERVICE):
                if not self._stages_open:
                    raise NotAllowed("a tier", "of a tier, which --tier-tls-ca gives")
            else:
                caller = await self._gate.admit(call, details.invocation_metadata)
                asking.set(ANONYMOUS if caller is None else caller.name)
        except ServingError as error:
            return self._stopped(details.method, call, error)
        return await continuation(details)

    def _stopped(self, method: str, call: Call, error: ServingError) -> Any:
        """What answers in the place of who was asked."""

        async def unread(_: Any, context: Any) -> None:
            status = end_with(context, error, self._codes)
            if call.order:
                self._note(call, error, "", context, status)

        async def read(wire: bytes, context: Any) -> bytes:
            status = end_with(context, error, self._codes)
            self._note(call, error, model_of(method, wire), context, status)
            return b""

        if call.order and not isinstance(error, NotKnown):
            return grpc.unary_unary_rpc_method_handler(read)
        return grpc.stream_stream_rpc_method_handler(unread)

    def _note(self, call: Call, error: ServingError, model: str, context: Any, status: int) -> None:
        caller = getattr(error, "caller", UNKNOWN)
        self._audit.record(caller, call.order, model, "grpc", peer_of(context), status, DENIED)
