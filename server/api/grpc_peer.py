"""Who calls: behind our own front grpcio sees a Unix socket, and is told whom by a header field."""

from typing import Any

PEER = "tercet-peer"
"""The front's alone: what a client sends of that name goes no further."""


def peer_of(context: Any) -> str:
    """As gRPC writes it: `ipv4:127.0.0.1:5000`, `ipv6:[::1]:5000`, `unix:`."""
    peer: str = context.peer()
    if peer.startswith("unix:"):
        told = (value for name, value in context.invocation_metadata() or () if name == PEER)
        return next(told, peer)
    return peer
