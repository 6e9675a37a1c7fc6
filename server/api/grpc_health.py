"""The standard health service, `grpc.health.v1.Health`, beside the inference service."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from server.api.grpc_door import SERVICE, details_of, parsed
from server.domain.errors import InvalidRequest
from server.domain.health import Health

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class HealthDoor:
    """The standard health service; the empty name and the inference service's are known.

    It has no Watch: UNIMPLEMENTED, which the protocol has clients take for a server that is well.
    """

    def __init__(self, health: Health) -> None:
        self._health = health

    def handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            HEALTH, {"Check": grpc.unary_unary_rpc_method_handler(self.check)}
        )

    async def check(self, wire: bytes, context: Any) -> bytes:
        try:
            service = parsed(health_pb2.HealthCheckRequest, wire).service
        except InvalidRequest as fault:
            context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
            context.set_details(details_of(fault))
            return b""
        if service not in ("", SERVICE):
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details("this service is not known here")
            return b""
        status = health_pb2.HealthCheckResponse
        answer: bytes = status(
            status=status.SERVING if self._health.ready else status.NOT_SERVING
        ).SerializeToString()
        return answer
