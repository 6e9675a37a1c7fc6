"""The standard health service, `grpc.health.v1.Health`, beside the inference service."""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from server.api.grpc_door import SERVICE, details_of, parsed
from server.domain.errors import InvalidRequest
from server.domain.health import Health

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
KNOWN = frozenset({"", SERVICE})
LOOK_AGAIN_S = 0.25
MOST_WATCHERS = 256
STATUS = health_pb2.HealthCheckResponse


class HealthDoor:
    """The empty name and the inference service's are known, and mean the same.

    A watcher is told what is so, and then each change; `closing` ends it, once it was told that we do not
    serve any more. Whether models are ready is worked out when somebody asks: watchers look again and again.
    """

    def __init__(self, health: Health, closing: asyncio.Event) -> None:
        self._health = health
        self._closing = closing
        self._watchers = 0

    def handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            HEALTH,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self.check),
                "Watch": grpc.unary_stream_rpc_method_handler(self.watch),
            },
        )

    async def check(self, wire: bytes, context: Any) -> bytes:
        service = self._asked(wire, context)
        if service is None:
            return b""
        if service not in KNOWN:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details("this service is not known here")
            return b""
        return self._said(service)

    async def watch(self, wire: bytes, context: Any) -> None:
        service = self._asked(wire, context)
        if service is None:
            return
        if self._watchers >= MOST_WATCHERS:
            context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
            context.set_details(f"{self._watchers} callers watch the health already: ask with Check instead")
            return
        self._watchers += 1
        try:
            await self._tell_changes(service, context)
        except grpc.aio.InternalError:  # the watcher is gone, and we are about to be told so
            return
        finally:
            self._watchers -= 1
        context.set_code(grpc.StatusCode.UNAVAILABLE)
        context.set_details("the server is stopping")

    async def _tell_changes(self, service: str, context: Any) -> None:
        told = b""
        while True:
            closing = self._closing.is_set()
            now = self._said(service)
            if now != told:
                await context.write(now)
                told = now
            if closing:
                return
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._closing.wait()
            except TimeoutError:
                pass

    def _asked(self, wire: bytes, context: Any) -> str | None:
        """The service that is asked about; None for a message that cannot be read, which is then refused."""
        try:
            service: str = parsed(health_pb2.HealthCheckRequest, wire).service
        except InvalidRequest as fault:
            context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
            context.set_details(details_of(fault))
            return None
        return service

    def _said(self, service: str) -> bytes:
        if service not in KNOWN:
            status = STATUS.SERVICE_UNKNOWN
        else:
            status = STATUS.SERVING if self._health.ready else STATUS.NOT_SERVING
        answer: bytes = STATUS(status=status).SerializeToString()
        return answer
