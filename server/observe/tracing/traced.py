"""A sampled request in one process: the span that all others of it here belong to, and how these are made.

It is opened where the request comes in, by a client's call or by another tier's bundle, and ended where the
answer goes out. Parts tell it what they took, in the monotonic nanoseconds that they measure for metrics
and for `?explain=timing`: there is one source of times.
"""

from collections.abc import Sequence
from random import getrandbits
from time import monotonic_ns, time_ns

from server.observe.tracing.parent import Parent
from server.observe.tracing.span import NO_ATTRIBUTES, Attributes, DoneSpan, Give, Kind


class Traced:
    """Lives on the event loop.

    trace_id   shared by all processes
    span_id    of the whole of it in this process
    hop_id     of its way to the next tier, where it has one: the parent of what happens there
    """

    __slots__ = ("_began", "_epoch", "_give", "_kind", "_name", "_parent_id", "hop_id", "span_id", "trace_id")

    def __init__(
        self, give: Give, name: str, began: int, parent: Parent | None, kind: Kind = Kind.SERVER
    ) -> None:
        """`began` is monotonic ns. Without a parent it begins a trace."""
        self._give = give
        self._name = name
        self._began = began
        self._kind = kind
        self._epoch = _epoch()
        self._parent_id = parent.span_id if parent is not None else 0
        self.trace_id = parent.trace_id if parent is not None else new_id(128)
        self.span_id = new_id(64)
        self.hop_id = new_id(64)

    @property
    def ahead(self) -> str:
        """What the next tier is told: that it is called by the hop."""
        return str(Parent(self.trace_id, self.hop_id))

    def part(
        self,
        name: str,
        began: int,
        ended: int,
        *,
        within: int | None = None,
        span_id: int = 0,
        kind: Kind = Kind.INTERNAL,
        attributes: Attributes = NO_ATTRIBUTES,
        links: Sequence[Parent] = (),
        error: str = "",
    ) -> Parent:
        """Something of it that is over, `within` a span of its own or else of the whole; the ids of it."""
        own = Parent(self.trace_id, span_id or new_id(64))
        self._give(
            DoneSpan(
                name=name,
                trace_id=self.trace_id,
                span_id=own.span_id,
                parent_id=self.span_id if within is None else within,
                began=self._epoch + began,
                ended=self._epoch + max(began, ended),
                kind=kind,
                attributes=attributes,
                links=links,
                error=error,
            )
        )
        return own

    def stage(self, name: str, queued: int, began: int, ended: int) -> None:
        """A stage of code: it waited for a thread, and ran."""
        whole = self.part(name, queued, ended)
        self.waited_and_ran(queued, began, ended, within=whole.span_id)

    def waited_and_ran(self, queued: int, began: int, ended: int, *, within: int | None = None) -> None:
        self.part("queue", queued, began, within=within)
        self.part("compute", began, ended, within=within)

    def step(self, name: str) -> "Traced":
        """A step of it, as a request to another model; ended by whoever asked for it."""
        return Traced(self._give, name, monotonic_ns(), Parent(self.trace_id, self.span_id), Kind.INTERNAL)

    def end(self, attributes: Attributes = NO_ATTRIBUTES, error: str = "") -> None:
        """It is answered, or refused. Called once."""
        self.part(
            self._name,
            self._began,
            monotonic_ns(),
            within=self._parent_id,
            span_id=self.span_id,
            kind=self._kind,
            attributes=attributes,
            error=error,
        )


def _epoch() -> int:
    """What turns monotonic ns into ns since the epoch: of some tries the one with the least in between.

    Asked for each request, as the clocks drift apart, and all processes of a machine are to come to the same.
    """
    tries = [(monotonic_ns(), time_ns(), monotonic_ns()) for _ in range(3)]
    before, at, after = min(tries, key=lambda each: each[2] - each[0])
    return at - (before + after) // 2


def new_id(bits: int) -> int:
    """Never 0, which means none."""
    return getrandbits(bits) or 1
