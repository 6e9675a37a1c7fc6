"""What a caller may be allowed to do, and what a call is, as far as a door minds."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Right(StrEnum):
    """`inference` asks models, `control` changes what is served and how, `metrics` reads /metrics."""

    INFERENCE = "inference"
    CONTROL = "control"
    METRICS = "metrics"


Rights = frozenset[Right]

ALL: Rights = frozenset(Right)


class Api(StrEnum):
    """Triton's names for groups of calls, as `--http-restricted-api` has them."""

    HEALTH = "health"
    METADATA = "metadata"
    INFERENCE = "inference"
    SHARED_MEMORY = "shared-memory"
    MODEL_CONFIG = "model-config"
    MODEL_REPOSITORY = "model-repository"
    STATISTICS = "statistics"
    TRACE = "trace"
    LOGGING = "logging"


@dataclass(frozen=True, slots=True)
class Call:
    """One kind of call.

    api      that Triton counts it to; None for what is nobody's
    rights   any one of which opens it; none for what is open to everybody
    order    what the audit line calls it; empty for what is not audited
    """

    api: Api | None
    rights: Rights
    order: str = ""

    @property
    def is_open(self) -> bool:
        return not self.rights


def listed(rights: Iterable[Right]) -> str:
    """As a sentence has them."""
    return " or ".join(sorted(rights))
