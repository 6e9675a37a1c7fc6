"""What is wanted of a model's answers, as clients read and change it over HTTP. Triton has no such call."""

from typing import Any

from server.domain.errors import InvalidRequest
from server.domain.scheduling import MOST, ModelScheduling, VersionScheduling
from server.wire import json_text
from server.wire.raw import Buffer
from server.wire.values import kind_of, shown

CHANGEABLE = ("latency_target_ms", "weight")


def scheduling(told: ModelScheduling) -> dict[str, Any]:
    """What holds and who said so, and how each version that serves stands."""
    holds = told.in_force
    return {
        "name": told.model,
        "latency_target_ms": holds.latency_target_ms,
        "latency_target_from": holds.latency_target_from.value,
        "weight": holds.weight,
        "weight_from": holds.weight_from.value,
        "versions": [_version(version) for version in told.versions],
    }


def decode(body: Buffer) -> dict[str, float | None]:
    """What a POST changes; None takes back what calls have said. An empty body changes nothing."""
    document = json_text.read(body) if body else {}
    if type(document) is not dict:
        raise InvalidRequest(f"the request must be a JSON object, but is {kind_of(document)}")
    for name, value in document.items():
        if name not in CHANGEABLE:
            raise InvalidRequest(
                f"there is no scheduling setting {shown(name)}; there are {', '.join(CHANGEABLE)}"
            )
        if value is not None and (type(value) not in (int, float) or not 0 < value <= MOST):
            raise InvalidRequest(
                f"scheduling setting '{name}' must be a number above 0 and up to {MOST}, or null, "
                f"but is {kind_of(value)}: {shown(value)}"
            )
    return {name: None if value is None else float(value) for name, value in document.items()}


def _version(version: VersionScheduling) -> dict[str, Any]:
    return {
        "version": str(version.version),
        "instances": version.instances,
        "waiting": version.waiting,
        "running": version.running,
        "max_queue_size": version.queue_size,
        "max_queue_bytes": version.queue_bytes,
        "predicted_ms": {str(rows): round(ms, 4) for rows, ms in sorted(version.predicted_ms.items())},
    }
