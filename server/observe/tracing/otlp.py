"""Spans to a collector of OpenTelemetry, by OTLP over HTTP. The one door by which its packages come in.

What the environment says of its exporter, such as OTEL_EXPORTER_OTLP_TRACES_HEADERS for a key, holds.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from server.observe.tracing.exporting import Send
from server.observe.tracing.parent import Parent
from server.observe.tracing.span import DoneSpan, Kind

TRY_S = 10.0
KINDS = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT, Kind.INTERNAL: SpanKind.INTERNAL}
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
SCOPE = InstrumentationScope("tercet")


def otlp(url: str, resource: Mapping[str, str | int]) -> tuple[Send, Callable[[], object]]:
    """What sends spans to the address, and what ends that soon. `resource` says whose spans they are."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # our own log says what was not taken
    exporter = OTLPSpanExporter(endpoint=url, timeout=TRY_S)
    whose = Resource(dict(resource))

    def send(spans: Sequence[DoneSpan]) -> bool:
        return exporter.export([_readable(span, whose) for span in spans]) is SpanExportResult.SUCCESS

    return send, exporter.shutdown


def _readable(span: DoneSpan, whose: Resource) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=_context(Parent(span.trace_id, span.span_id)),
        parent=_context(Parent(span.trace_id, span.parent_id)) if span.parent_id else None,
        resource=whose,
        attributes=span.attributes,
        links=[Link(_context(each)) for each in span.links],
        kind=KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
        start_time=span.began,
        end_time=span.ended,
        instrumentation_scope=SCOPE,
    )


def _context(of: Parent) -> SpanContext:
    return SpanContext(of.trace_id, of.span_id, is_remote=False, trace_flags=SAMPLED)
