"""What a journal shows: load and latency over time, and the figures that promises are held against.

Pure arithmetic. Times are the cluster's; latencies are real.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, nan

from benchmarks.autoscaling.behaviour import SYNC_S
from benchmarks.autoscaling.journal import Journal, Look, Told
from benchmarks.autoscaling.pipelines import Pipeline
from benchmarks.autoscaling.recording import Recording
from benchmarks.autoscaling.replicas import TOLERANCE
from benchmarks.autoscaling.traffic import OK, REFUSALS

WELL_WINDOWS = 3
"""So many windows in a row must be well for the tiers to have recovered."""

WELL = 2.0
"""A window is well with no refusal and a p99 of at most this many times that before the burst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The requests that came within one period of the autoscaler.

    at_s         when it began
    per_s        requests a second, real ones
    p50_s, p99_s of those that were answered; not a number if none was
    """

    at_s: float
    per_s: float
    answered: int
    refused: int
    failed: int
    p50_s: float
    p99_s: float


def windows(told: Sequence[Told], recording: Recording, speed: float) -> list[Window]:
    """All of the recording, in periods of the autoscaler."""
    count = ceil(recording.seconds / SYNC_S)
    within: list[list[Told]] = [[] for _ in range(count)]
    for each in told:
        within[min(int(each.at_s * speed / SYNC_S), count - 1)].append(each)
    return [_window(number * SYNC_S, asked, speed) for number, asked in enumerate(within)]


def _window(at_s: float, asked: Sequence[Told], speed: float) -> Window:
    took = sorted(each.took_s for each in asked if each.status == OK)
    return Window(
        at_s=at_s,
        per_s=len(asked) * speed / SYNC_S,
        answered=len(took),
        refused=sum(each.status in REFUSALS for each in asked),
        failed=sum(each.status not in REFUSALS and each.status != OK for each in asked),
        p50_s=_quantile(took, 0.5),
        p99_s=_quantile(took, 0.99),
    )


def _quantile(ascending: Sequence[float], part: float) -> float:
    return ascending[ceil(part * len(ascending)) - 1] if ascending else nan


def figures(
    pipeline: Pipeline, recording: Recording, speed: float, target: float, journal: Journal
) -> Mapping[str, float | None]:
    """By their keys in `aims`, without the pipeline's name."""
    seen = windows(journal.told, recording, speed)
    own = journal.looks[pipeline.bottleneck]
    needed = processes_needed(recording, pipeline.rates()[pipeline.bottleneck], target)
    others = [look for tier, looks in journal.looks.items() if tier != pipeline.bottleneck for look in looks]
    return {
        "height": max(look.replicas for look in own) / needed,
        "others": max(look.replicas for look in others),
        "flaps": max(0, turns(own) - 1),
        "last": own[-1].replicas,
        "failed": sum(each.failed for each in seen),
        "refused": sum(each.refused for each in seen) / max(1, len(journal.told)),
        "recovery": recovery_s(seen, recording),
    }


def processes_needed(recording: Recording, rate_of_one: float, target: float) -> int:
    """The fewest that bear the burst at the target, or so near to it that an autoscaler leaves it at that."""
    began, ended = recording.burst()
    high = sorted(recording.rates[int(began / recording.step_s) : int(ended / recording.step_s)])
    return ceil(high[len(high) // 2] / rate_of_one / (target * (1 + TOLERANCE)))


def turns(looks: Sequence[Look]) -> int:
    """How often the number of processes turned, from more to fewer or from fewer to more."""
    changes = [after.replicas - before.replicas for before, after in pairwise(looks)]
    signs = [change > 0 for change in changes if change]
    return sum(before != after for before, after in pairwise(signs))


def recovery_s(seen: Sequence[Window], recording: Recording) -> float | None:
    """From the beginning of the burst until all is well again; None if it was not before the burst's end."""
    began, ended = recording.burst()
    quiet = [each.p99_s for each in seen if each.at_s + SYNC_S <= began and each.answered]
    limit = WELL * sorted(quiet)[len(quiet) // 2]
    in_burst = [each for each in seen if began <= each.at_s < ended]
    well = [not each.refused and not each.failed and each.p99_s <= limit for each in in_burst]
    for number, each in enumerate(in_burst):
        if len(well) >= number + WELL_WINDOWS and all(well[number : number + WELL_WINDOWS]):
            return each.at_s - began
    return None
