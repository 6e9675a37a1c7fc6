"""What is wanted of a model's answers, over Triton's own settings, and who said so.

The configuration says it in `parameters`; a call may say otherwise while the server runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

LATENCY_TARGET, WEIGHT = "latency_target_ms", "scheduling_weight"
HEDGE_AFTER = "hedge_after_ms"
"""The parameters of a configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """What one source says; None where it says nothing.

    latency_target_ms   within which each request is to be answered
    weight              the model's share of a device, against others that want it at the same time
    """

    latency_target_ms: float | None = None
    weight: float | None = None


UNSAID = Scheduling()
MOST = 1_000_000_000
"""Of milliseconds and of weight: more is a slip of the pen."""

DEFAULT_WEIGHT = 1.0


class Source(StrEnum):
    """Where what is in force came from."""

    CALL = "call"
    CONFIG = "config"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class InForce:
    """What holds for a model. Without a target, requests are batched by Triton's settings alone."""

    latency_target_ms: float | None
    latency_target_from: Source
    weight: float
    weight_from: Source


def in_force(config: Scheduling, call: Scheduling) -> InForce:
    """What a call says goes before what the configuration says."""
    target, target_from = _first(call.latency_target_ms, config.latency_target_ms)
    weight, weight_from = _first(call.weight, config.weight)
    return InForce(target, target_from, DEFAULT_WEIGHT if weight is None else weight, weight_from)


def _first(call: float | None, config: float | None) -> tuple[float | None, Source]:
    if call is not None:
        return call, Source.CALL
    return config, Source.DEFAULT if config is None else Source.CONFIG


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionScheduling:
    """How one version that serves stands.

    queue_size, queue_bytes   how much may wait for it
    waiting                   requests that wait right now
    running                   runs that are under way
    instances                 runs at the same time
    predicted_ms              rows of a run -> how long it is expected to take; what was learned so far
    """

    version: int
    queue_size: int
    queue_bytes: int
    waiting: int
    running: int
    instances: int
    predicted_ms: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScheduling:
    """What a client is told of a model: what holds for all of it, and how each version that serves stands."""

    model: str
    in_force: InForce
    versions: tuple[VersionScheduling, ...]


class Schedules(Protocol):
    """What a door may ask and say of it. Raises `ModelNotFound` for a model that no repository has."""

    def of(self, model: str) -> ModelScheduling:
        """What holds for a model, ready or not."""
        ...

    def change(self, model: str, change: Mapping[str, float | None]) -> ModelScheduling:
        """Say it for all versions of a model, and over reloads. `change` has fields of `Scheduling`; None
        takes back what was said so before."""
        ...
