"""The words between what is asked and who sends it: a door of the server, and one request as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

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
    """

    door: Door
    port: int
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}{self.path}"
