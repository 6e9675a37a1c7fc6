"""grpcio's asyncio server: the inference service, the standard health service and reflection."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection

from protos.pool import POOL
from server.api.grpc_door import SERVICE, GrpcDoor, PortRefused
from server.api.grpc_health import HEALTH, HealthDoor
from server.api.grpc_transport import GrpcioOptions
from server.api.grpcio_tls import GrpcioTls


class Service(Protocol):
    """A door of another service."""

    def handlers(self) -> grpc.GenericRpcHandler: ...


@asynccontextmanager
async def grpcio_server(
    door: GrpcDoor,
    health: HealthDoor,
    address: str,
    connections: GrpcioOptions,
    *,
    max_message_bytes: int,
    finish_within_s: float,
    services: Sequence[Service] = (),
    gate: grpc.aio.ServerInterceptor | None = None,
    tls: GrpcioTls | None = None,
    shares_port: bool = False,
) -> AsyncIterator[None]:
    """All of the service by grpcio, on `address`, until the block is left. Raises `PortRefused`.

    `connections` says how they are treated. The `services` are others, that clients are not told of. A `gate`
    sees every call before they do.
    """
    server = grpc.aio.server(
        interceptors=() if gate is None else (gate,),
        options=[
            *connections,
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.so_reuseport", int(shares_port)),
        ],
    )
    own = (door.handlers(), health.handlers())
    server.add_generic_rpc_handlers((*own, *(service.handlers() for service in services)))
    reflection.enable_server_reflection(
        (SERVICE, HEALTH, reflection.SERVICE_NAME), server, pool=_WithHealth()
    )
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)
    try:
        if tls is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, tls.credentials())
    except RuntimeError:
        raise PortRefused(f"cannot listen on {address} for gRPC: the port is taken") from None
    await server.start()
    try:
        yield
    finally:
        await server.stop(finish_within_s)


def _is_news(record: logging.LogRecord) -> bool:
    """False for what grpcio says, with a traceback, when it cannot send a status as the client has left."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, grpc.aio.InternalError)


class _WithHealth:
    """Our descriptor pool, and the default one for services that live there: what reflection looks in."""

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def find(*names: Any) -> Any:
            try:
                return getattr(POOL, method)(*names)
            except KeyError:
                return getattr(health_pb2.DESCRIPTOR.pool, method)(*names)

        return find
