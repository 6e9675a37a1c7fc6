"""The traces of this process, as its settings ask for them: who is sampled, and where the spans go."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import structlog

from server.app.refused import StartRefused
from server.observe.tracing.config import TraceConfig, TraceConfigInvalid
from server.observe.tracing.config import read as read_config
from server.observe.tracing.exporting import Exporter
from server.observe.tracing.sampling import Sampler, Sampling
from server.observe.tracing.tracer import Tracer
from server.settings import Settings

log = structlog.get_logger(__name__)

TRACES = "/v1/traces"
LAST_WORDS_S = 3.0
"""So long a process that ends tries to hand over the spans that are left."""


@contextmanager
def traces(settings: Settings) -> Iterator[Tracer | None]:
    """The tracer of this process, until the block is left; None where nobody collects spans.

    Raises `StartRefused`.
    """
    config = config_of(settings)
    if not config.wants_traces:
        yield None
        return
    try:
        from server.observe.tracing.otlp import otlp  # here: OpenTelemetry is an extra
    except ImportError:
        raise StartRefused(
            "traces need the packages of OpenTelemetry, which are not installed: pip install 'tercet[trace]'"
        ) from None
    resource: dict[str, str | int] = {
        "service.name": "tercet",
        "service.instance.id": f"{settings.id}:{os.getpid()}",
        "process.pid": os.getpid(),
        "tercet.role": settings.role,
        **config.resource,
    }
    send, abort = otlp(config.url, resource)
    exporter = Exporter(send, abort)
    log.info("traces_go_to", url=config.url, rate=config.sampling.rate)
    try:
        yield Tracer(exporter, Sampler(config.sampling))
    finally:
        exporter.close(min(LAST_WORDS_S, settings.exit_timeout_secs))


def config_of(settings: Settings) -> TraceConfig:
    """What both ways of asking for traces come to. Raises `StartRefused`."""
    try:
        config = read_config(settings.trace_config)
    except TraceConfigInvalid as why:
        raise StartRefused(f"--trace-config {why}") from None
    if settings.trace_otlp_endpoint:
        share = settings.trace_sample_rate
        sampling = Sampling(level="TIMESTAMPS", rate=round(1 / share) if share else 0)
        config = replace(
            config, mode="opentelemetry", url=_whole(settings.trace_otlp_endpoint), sampling=sampling
        )
    elif settings.trace_config and config.mode == "triton":
        log.warning("trace_config_without_effect", why="only mode=opentelemetry is offered")
    address = urlsplit(config.url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise StartRefused(f"{config.url} is no address of a collector: write it as http://HOST:4318")
    return config


def _whole(endpoint: str) -> str:
    """A collector's address with the path where it takes traces, unless it has one."""
    return endpoint if urlsplit(endpoint).path not in ("", "/") else endpoint.rstrip("/") + TRACES
