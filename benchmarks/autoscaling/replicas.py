"""How many pods a HorizontalPodAutoscaler would have, by a metric of each of them: plain arithmetic.

The rules are those that Kubernetes documents for a metric of type Pods with a target of type AverageValue:
the mean over the pods against the target, a tolerance within which nothing is done, and caution about pods of
which nothing is known. Source: Kubernetes, "Horizontal Pod Autoscaling", algorithm details.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

TOLERANCE = 0.1
"""Kubernetes' default: so far from the target nothing is done."""

SAME = 1e-9
"""Ratios that differ by less are the same: sums of floats should not cost a pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """
    metric       as it was read last; None for a pod that shows none
    is_pending   whether it has not begun to run: what it shows says nothing yet
    """

    metric: float | None
    is_pending: bool = False


def recommended(pods: Sequence[Pod], current: int, target: float, tolerance: float = TOLERANCE) -> int | None:
    """The number of pods that the metric asks for, before any limit; `current` of them are wanted now.

    None where no pod that runs shows the metric: then nothing is done.
    """
    running = [pod for pod in pods if not pod.is_pending]
    shown = [pod.metric for pod in running if pod.metric is not None]
    if not shown:
        return None
    pending, missing = len(pods) - len(running), len(running) - len(shown)
    ratio = sum(shown) / len(shown) / target
    counts_pending = pending > 0 and ratio > 1
    if not counts_pending and not missing:
        return current if _is_within(ratio, tolerance) else _whole(ratio * len(shown))
    total, number = sum(shown), len(shown)
    if missing:
        total += missing * target if ratio < 1 else 0.0
        number += missing
    if counts_pending:
        number += pending
    cautious = total / number / target
    if _is_within(cautious, tolerance) or (ratio - 1) * (cautious - 1) < 0:
        return current
    wanted = _whole(cautious * number)
    if (cautious < 1 and wanted > current) or (cautious > 1 and wanted < current):
        return current
    return wanted


def _is_within(ratio: float, tolerance: float) -> bool:
    return abs(1 - ratio) <= tolerance + SAME


def _whole(pods: float) -> int:
    return ceil(pods - SAME)
