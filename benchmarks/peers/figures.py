"""What a results file of `make bench-peers` tells: lines by model and door, the best first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.call import Door
from benchmarks.peers.known import PEERS

COLUMNS = ("requests_per_s", "p50_ms", "p99_ms", "cpu_us", "mean_batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One server at one point: medians over all its runs, also those beside several peers.

    figures   by the names in `COLUMNS`; without mean_batch where it is not told
    """

    server: str
    model: str
    door: Door
    clients: int
    figures: Mapping[str, float]


def rows(content: Mapping[str, Any]) -> Sequence[Row]:
    """In the order of models, doors and clients, the highest rate first."""
    runs: dict[tuple[str, Door, int, str], list[Mapping[str, float]]] = {}
    for line in _lines(content):
        if "runs" in line:
            point = (line["model"], Door(line["door"]), line["clients"], line["server"])
            runs.setdefault(point, []).extend(line["runs"])
    found = [
        Row(server=server, model=model, door=door, clients=clients, figures=_medians(each))
        for (model, door, clients, server), each in runs.items()
    ]
    doors = [*Door]
    return sorted(
        found, key=lambda row: (row.model, doors.index(row.door), row.clients, -row.figures["requests_per_s"])
    )


def refusals(content: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each peer, or line of one, that has no figures."""
    for name in PEERS:
        part = content.get(name, {})
        if "refusal" in part:
            yield f"{name} could not be measured: {part['refusal']}"
    for line in _lines(content):
        if "refusal" in line:
            point = f"{line['model']} over {line['door']}"
            yield f"{line['server']}, {point} could not be measured: {line['refusal']}"


def limits(content: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
    """The bare session's figures by model."""
    found: Mapping[str, Mapping[str, float]] = content.get("prototype", {}).get("limits", {})
    return found


def _lines(content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in PEERS:
        yield from content.get(name, {}).get("lines", ())


def _medians(runs: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    told = {column: [run[column] for run in runs if column in run] for column in COLUMNS}
    return {column: median(values) for column, values in told.items() if values}
