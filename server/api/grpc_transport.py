"""How a gRPC server treats its connections, in the words of grpcio, too."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LEVELS: Mapping[str, int] = MappingProxyType({"none": 0, "low": 1, "medium": 2, "high": 3})
"""gRPC core's levels of compression. It chooses, for each client, among what that client understands."""

GrpcioOptions = list[tuple[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """Times in milliseconds, and all of it per connection.

    max_concurrent_streams     calls open at once; further ones wait with the client
    keepalive_time_ms          without traffic, until we ask whether the client is there
    keepalive_timeout_ms       until a client that does not answer that is given up
    keepalive_without_calls    ask also while no call is open
    max_pings_without_data     of ours in a row; 0 for no limit
    min_ping_interval_ms       a client that pings more often without data gets a strike
    max_ping_strikes           until such a client is sent away; 0 for no limit
    max_age_ms                 until a client is told to connect anew; 0 for ever
    max_age_grace_ms           what its calls then have to finish; 0 for as long as they need
    compression                of the answers: none, low, medium or high
    """

    max_concurrent_streams: int
    keepalive_time_ms: int
    keepalive_timeout_ms: int
    keepalive_without_calls: bool
    max_pings_without_data: int
    min_ping_interval_ms: int
    max_ping_strikes: int
    max_age_ms: int
    max_age_grace_ms: int
    compression: str

    def for_grpcio(self) -> GrpcioOptions:
        options = [
            ("grpc.max_concurrent_streams", self.max_concurrent_streams),
            ("grpc.keepalive_time_ms", self.keepalive_time_ms),
            ("grpc.keepalive_timeout_ms", self.keepalive_timeout_ms),
            ("grpc.http2.ping_timeout_ms", self.keepalive_timeout_ms),  # else a minute goes first
            ("grpc.keepalive_permit_without_calls", int(self.keepalive_without_calls)),
            ("grpc.http2.max_pings_without_data", self.max_pings_without_data),
            ("grpc.http2.min_ping_interval_without_data_ms", self.min_ping_interval_ms),
            ("grpc.http2.max_ping_strikes", self.max_ping_strikes),
        ]
        if self.max_age_ms:
            options.append(("grpc.max_connection_age_ms", self.max_age_ms))
        if self.max_age_grace_ms:
            options.append(("grpc.max_connection_age_grace_ms", self.max_age_grace_ms))
        return options + self.for_grpcio_behind()

    def for_grpcio_behind(self) -> GrpcioOptions:
        """Where the connections are another server's, and what is said in them is grpcio's."""
        if self.compression == "none":
            return []
        return [("grpc.default_compression_level", LEVELS[self.compression])]
