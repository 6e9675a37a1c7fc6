"""How often a payload of 4 MB is copied on its way, by the servers' own count.

    tercet_payload_copied_bytes_total   of tensors laid anew, by stage and side

A server that does not count says nothing, and nothing is found.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.ask import ask
from benchmarks.call import HOST, Door
from benchmarks.findings import Findings
from benchmarks.models import Tensors
from benchmarks.runs import Pace, Question, Say
from benchmarks.server_under_test import ServerUnderTest
from benchmarks.tiers.models import WIDE_FLOATS, lay_identity
from benchmarks.tiers.processes import tiers

COUNTER = "tercet_payload_copied_bytes_total"
REQUESTS = 8
PAYLOAD_BYTES = 4 * WIDE_FLOATS


def measure(scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    repository = scratch / "copies"
    lay_identity(repository)
    row: Tensors = {"INPUT": np.zeros((1, WIDE_FLOATS), np.float32)}
    told: dict[str, Any] = {}
    with tiers(repository, scratch, {"all": 1}) as fused:
        told["fused"] = _copies(Question("identity", row, Door.BINARY, 1), fused.front, [fused.front])
    with tiers(repository, scratch, {"gateway": 1, "predict": 1}) as apart:
        told["apart"] = _copies(
            Question("identity", row, Door.BINARY, 1), apart.front, [apart.front, apart.of["predict"][0]]
        )
    findings["copies fused"] = _only(told["fused"])
    counted = told["apart"]
    if counted is not None:
        findings["copies sent"], findings["copies received"] = counted
    say(f"  copies of 4 MB: {told}")
    return told


def _only(counted: list[float] | None) -> float | None:
    return counted[0] if counted is not None else None


def _copies(
    question: Question, front: ServerUnderTest, counting: list[ServerUnderTest]
) -> list[float] | None:
    """Payloads copied for each request, by each of those that count; None if one does not."""
    ask(question.to(front))
    before = [_copied_bytes(server) for server in counting]
    for _ in range(REQUESTS):
        ask(question.to(front))
    after = [_copied_bytes(server) for server in counting]
    if any(each is None for each in (*before, *after)):
        return None
    return [
        ((now or 0) - (then or 0)) / PAYLOAD_BYTES / REQUESTS for then, now in zip(before, after, strict=True)
    ]


def _copied_bytes(server: ServerUnderTest) -> float | None:
    text = httpx.get(f"http://{HOST}:{server.metrics_port}/metrics", timeout=10).text
    found: Mapping[str, float] = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(COUNTER)
    }
    return sum(found.values()) if found else None
