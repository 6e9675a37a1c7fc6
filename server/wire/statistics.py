"""What versions have done so far, in the words of Triton's statistics extension.

Every member is always there: clients fall over one that is not.
"""

from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format

from protos import inference_pb2 as pb
from server.domain.catalogue import VersionFacts
from server.observe.run_counts import BatchSpans, Span
from server.observe.tally import Tally

_NEVER = Span()


def model_statistics(versions: Iterable[VersionFacts]) -> dict[str, Any]:
    """Times are nanoseconds, summed over requests; counts since the version was loaded."""
    return {"model_stats": [_version(facts) for facts in versions]}


def model_statistics_message(versions: Iterable[VersionFacts]) -> pb.ModelStatisticsResponse:
    return statistics_message(model_statistics(versions))


def statistics_message(statistics: dict[str, Any]) -> pb.ModelStatisticsResponse:
    """The same as a message."""
    return json_format.ParseDict(statistics, pb.ModelStatisticsResponse())


def _version(facts: VersionFacts) -> dict[str, Any]:
    tally = facts.tally
    return {
        "name": facts.model,
        "version": str(facts.version),
        "last_inference": tally.last_inference,
        "inference_count": tally.inference_count,
        "execution_count": tally.execution_count,
        "inference_stats": _requests(tally),
        "response_stats": {},
        "batch_stats": [_batch(rows, tally.batches[rows]) for rows in sorted(tally.batches)],
        "memory_usage": [_memory(device, count) for device, count in sorted(facts.memory.items())],
    }


def _requests(tally: Tally) -> dict[str, dict[str, int]]:
    return {
        "success": _span(tally.success),
        "fail": _span(tally.fail),
        "queue": _span(tally.queue),
        "compute_input": _span(tally.compute_input),
        "compute_infer": _span(tally.compute_infer),
        "compute_output": _span(tally.compute_output),
        "cache_hit": _span(_NEVER),
        "cache_miss": _span(_NEVER),
    }


def _batch(rows: int, spans: BatchSpans) -> dict[str, Any]:
    return {
        "batch_size": rows,
        "compute_input": _span(spans.compute_input),
        "compute_infer": _span(spans.compute_infer),
        "compute_output": _span(spans.compute_output),
    }


def _memory(device: str, count: int) -> dict[str, Any]:
    """By Triton's names: "CPU" has no number of its own, and a "GPU" that of its device."""
    kind, _, number = device.partition(":")
    return {"type": "CPU" if kind == "cpu" else "GPU", "id": int(number or 0), "byte_size": count}


def _span(span: Span) -> dict[str, int]:
    return {"count": span.count, "ns": span.ns}
