"""Who begins traces in a process: the doors for clients' requests, and that for other tiers' bundles."""

from collections.abc import Iterable

from server.observe.tracing.exporting import Exporter
from server.observe.tracing.parent import Parent
from server.observe.tracing.sampling import Sampler
from server.observe.tracing.span import Give
from server.observe.tracing.traced import Traced

HEADER = "traceparent"
HEADER_BYTES = HEADER.encode()


class Tracer:
    """Lives on the event loop. `sampler` says who is traced, `exporter` takes what is over."""

    def __init__(self, exporter: Exporter, sampler: Sampler) -> None:
        self.exporter = exporter
        self.sampler = sampler
        self._give: Give = exporter.put

    def asks(self, told: bytes) -> bool:
        """Whether this `traceparent` asks for its request to be traced."""
        parent = Parent.read(told)
        return parent is not None and parent.sampled

    def begin(self, model: str, arrived: float, told: str | bytes | None = None) -> Traced | None:
        """The trace of a client's request that arrived then, in monotonic seconds; None for most.

        told   its `traceparent`, if it has one
        """
        parent = Parent.read(told)
        if not self.sampler.picks(model, parent):
            return None
        return Traced(self._give, "request", int(arrived * 1e9), parent)

    def begin_by(
        self, model: str, arrived: float, metadata: Iterable[tuple[str, str | bytes]] | None
    ) -> Traced | None:
        """The same for a call with these metadata."""
        told = next((value for name, value in metadata or () if name == HEADER), None)
        return self.begin(model, arrived, told)

    def follow(self, stage: str, began: int, told: str) -> Traced | None:
        """The part of a request that another tier has sent on, from then on, in monotonic ns."""
        parent = Parent.read(told)
        return Traced(self._give, stage, began, parent) if parent is not None and parent.sampled else None
