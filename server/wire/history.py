"""What a model has been through, as clients read it over HTTP. Triton has no such call."""

from collections.abc import Sequence
from typing import Any

from server.domain.history import Entry
from server.domain.labels import Label


def history(model: str, entries: Sequence[Entry], labels: Sequence[Label]) -> dict[str, Any]:
    """`entries` in their order. A label is shown with the last content of its version."""
    shown: set[int] = set()
    versions = []
    for entry in entries:
        own = [
            label.name for label in labels if label.version == entry.version and entry.version not in shown
        ]
        shown.add(entry.version)
        versions.append(_entry(entry, own))
    return {"name": model, "versions": versions}


def _entry(entry: Entry, labels: Sequence[str]) -> dict[str, Any]:
    """What is not known is left out."""
    told: dict[str, Any] = {
        "version": str(entry.version),
        "content": entry.content,
        "state": entry.state.value,
        "event": entry.what.value,
        "since": round(entry.since, 3),
        "labels": list(labels),
        "requests": entry.earlier_requests + entry.requests,
        "failures": entry.earlier_failures + entry.failures,
    }
    if entry.verified_s is not None:
        told["verified_s"] = round(entry.verified_s, 6)
    if entry.loaded_s is not None:
        told["loaded_s"] = round(entry.loaded_s, 6)
    if entry.reason:
        told["reason"] = entry.reason
    return told
