"""What a run, and the way to another tier, add to the trace of a sampled request.

The times are those that the metrics and `?explain=timing` are made of.
"""

from time import monotonic_ns
from typing import Literal

from server.domain.request import InferRequest
from server.domain.stage import StageName
from server.observe.tracing.parent import Parent
from server.observe.tracing.span import Kind
from server.observe.tracing.traced import Traced
from server.scheduling.run import Run
from server.scheduling.ticket import Ticket
from server.stages.hop.counting import HopRun

STATUS = {"http": "http.response.status_code", "grpc": "rpc.grpc.status_code"}
FAILED = frozenset({2, 4, 12, 13, 14, 15})
"""Codes of gRPC by which a server says that it has failed. Source: OpenTelemetry's semantic conventions."""


def ran(trace: Traced, ticket: Ticket) -> None:
    """A request has been in a run of this process.

    The run itself is one span, of the first sampled request in it; what others computed links to that.
    """
    facts = ticket.run
    if facts is None:  # it has failed before
        return
    whole = trace.part("predict", ticket.queued, facts.ended).span_id
    trace.part("queue", ticket.queued, facts.began, within=whole)
    links: list[Parent] = []
    if isinstance(facts, Run):
        if facts.trace is None:
            about = {"tercet.run.rows": facts.rows}
            facts.trace = trace.part("run", facts.began, facts.ended, within=whole, attributes=about)
        links = [facts.trace]
    trace.part("compute", facts.inferred, facts.ended, within=whole, links=links)


def hopped(trace: Traced, ticket: Ticket, stage: StageName) -> None:
    """A request has been to that tier and back, or was lost on the way."""
    facts = ticket.run
    about: dict[str, str | int] = {"tercet.tier": stage}
    ended = monotonic_ns()
    if isinstance(facts, HopRun):
        about["tercet.transfer_us"] = facts.transfer_ns // 1000
        ended = facts.ended
    trace.part(
        f"hop {stage}",
        ticket.queued or ended,
        ended,
        span_id=trace.hop_id,
        kind=Kind.CLIENT,
        attributes=about,
        error="" if ticket.error is None else str(ticket.error),
    )


def over(request: InferRequest, door: Literal["http", "grpc"], peer: str, status: int) -> None:
    """A client's request has its answer, or its refusal; call it for those that are traced."""
    assert request.trace is not None
    about: dict[str, str | int] = {"tercet.model": request.model, STATUS[door]: status}
    told = {"tercet.request_id": request.id, "client.address": peer}
    about |= {name: value for name, value in told.items() if value}
    failed = status >= 500 if door == "http" else status in FAILED
    request.trace.end(about, f"answered with {status}" if failed else "")
