"""The words between what is asked and who sends it: a door of the server, and one request as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import grpc

HOST = "127.0.0.1"
GRPC_PREFIX_BYTES = 5
"""Before every gRPC message: one byte for compression, four for its length."""

GRPC_CHANNEL = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
"""For grpcio: messages of any size, straight to this machine, and a connection for every channel."""


class Door(StrEnum):
    JSON = "json"
    BINARY = "binary"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One POST to a server on this machine, ready to be sent any number of times.

    body   for gRPC the message behind its prefix, as it stands in an HTTP/2 stream
    ca     who has signed the certificate of a server that speaks TLS, for gRPC alone; None for no TLS
    """

    door: Door
    port: int
    path: str
    headers: Mapping[str, str]
    body: bytes
    ca: Path | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self.ca is None else 'https'}://{HOST}:{self.port}{self.path}"

    def channel(self) -> grpc.Channel:
        """For grpcio, to the server."""
        address = f"{HOST}:{self.port}"
        if self.ca is None:
            return grpc.insecure_channel(address, GRPC_CHANNEL)
        return grpc.secure_channel(address, self._credentials(), GRPC_CHANNEL)

    def aio_channel(self) -> grpc.aio.Channel:
        """The same for asyncio."""
        address = f"{HOST}:{self.port}"
        if self.ca is None:
            return grpc.aio.insecure_channel(address, GRPC_CHANNEL)
        return grpc.aio.secure_channel(address, self._credentials(), GRPC_CHANNEL)

    def _credentials(self) -> grpc.ChannelCredentials:
        assert self.ca is not None
        return grpc.ssl_channel_credentials(self.ca.read_bytes())
