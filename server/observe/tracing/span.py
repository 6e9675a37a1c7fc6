"""A part of a sampled request that is over, as it goes to whoever collects traces."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from server.observe.tracing.parent import Parent

Attributes = Mapping[str, str | int]
NO_ATTRIBUTES: Attributes = MappingProxyType({})


class Kind(Enum):
    """On which side of a call between processes it is, if on any."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneSpan:
    """Times are nanoseconds since the epoch.

    parent_id   0 for the first span of a trace
    links       to spans of other requests, or of other parts of this one
    error       what went wrong; empty if nothing did
    """

    name: str
    trace_id: int
    span_id: int
    parent_id: int
    began: int
    ended: int
    kind: Kind = Kind.INTERNAL
    attributes: Attributes = field(default_factory=lambda: NO_ATTRIBUTES)
    links: Sequence[Parent] = ()
    error: str = ""


Give = Callable[[DoneSpan], None]
"""Takes a span that is over; never waits, and never raises."""
