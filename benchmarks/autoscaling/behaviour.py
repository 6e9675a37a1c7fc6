"""How fast a HorizontalPodAutoscaler follows what its metric asks for: limits, policies and windows.

Pure: `settle` takes what has happened and gives what happens now. Source: Kubernetes, "Horizontal Pod
Autoscaling", configurable scaling behavior; the defaults are its defaults. Times are seconds of the cluster.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Literal

SYNC_S = 15.0
"""Kubernetes' default: so often it looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """At most so many pods, or so many percent of those there were, within each period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """In one direction.

    window_s   the most cautious recommendation of so long counts
    select     whether the policy that allows the most decides, or the least, or nothing moves
    """

    window_s: float
    policies: Sequence[Policy]
    select: Literal["Max", "Min", "Disabled"] = "Max"


UP = Rules(window_s=0, policies=(Policy(kind="Percent", value=100), Policy(kind="Pods", value=4)))
DOWN = Rules(window_s=300, policies=(Policy(kind="Percent", value=100),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaler:
    """One HorizontalPodAutoscaler, but for its metric."""

    least: int = 1
    most: int = 10
    up: Rules = UP
    down: Rules = DOWN


@dataclass(frozen=True, slots=True)
class Past:
    """What counts of it.

    changes          (when, by how many) of each change that was made
    recommendations  (when, how many) of each that was heard
    """

    changes: Sequence[tuple[float, int]] = ()
    recommendations: Sequence[tuple[float, int]] = ()


def settle(scaler: Scaler, past: Past, current: int, wanted: int, now_s: float) -> tuple[int, Past]:
    """How many pods there are to be from `now_s` on, where the metric asks for `wanted`, and the new past."""
    steady = _stabilised(scaler, past, current, wanted, now_s)
    if steady > current:
        most = max(current, _limit(scaler.up, past, current, now_s, up=True))
        chosen = min(steady, most, scaler.most)
    elif steady < current:
        least = min(current, _limit(scaler.down, past, current, now_s, up=False))
        chosen = max(steady, least, scaler.least)
    else:
        chosen = current
    chosen = min(max(chosen, scaler.least), scaler.most)
    longest = max(scaler.up.window_s, scaler.down.window_s)
    heard = [(at, count) for at, count in past.recommendations if at > now_s - longest]
    periods = [policy.period_s for policy in (*scaler.up.policies, *scaler.down.policies)]
    made = [(at, by) for at, by in past.changes if at > now_s - max(periods, default=0.0)]
    if chosen != current:
        made.append((now_s, chosen - current))
    return chosen, Past(made, [*heard, (now_s, wanted)])


def _stabilised(scaler: Scaler, past: Past, current: int, wanted: int, now_s: float) -> int:
    """Up to the least that was asked for within the window of going up, down to the most within the other."""

    def within(window_s: float) -> Iterable[int]:
        return (count for at, count in past.recommendations if at > now_s - window_s)

    lowest = min([wanted, *within(scaler.up.window_s)])
    highest = max([wanted, *within(scaler.down.window_s)])
    return min(max(current, lowest), highest)


def _limit(rules: Rules, past: Past, current: int, now_s: float, *, up: bool) -> int:
    """As far as the policies allow: from what there was when each one's period began."""
    if rules.select == "Disabled":
        return current
    allowed = [_allowed(policy, past, current, now_s, up=up) for policy in rules.policies]
    furthest: Callable[[Iterable[int]], int] = max if up == (rules.select == "Max") else min
    return furthest(allowed)


def _allowed(policy: Policy, past: Past, current: int, now_s: float, *, up: bool) -> int:
    began_with = current - sum(by for at, by in past.changes if at > now_s - policy.period_s)
    sign = 1 if up else -1
    if policy.kind == "Pods":
        return began_with + sign * policy.value
    part = began_with * (100 + sign * policy.value) / 100
    return ceil(part) if up else floor(part)
