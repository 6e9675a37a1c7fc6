"""When each alert fires, and when it must not: a minute of a day in the life of servers for each number.

The values are as promtool has them: `1x60` is 1 for an hour, `0+5x60` begins at 0 and grows by 5 a minute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LONG = 8 * 60
"""Minutes that are written down, for those series that do not change."""


@dataclass(frozen=True)
class Case:
    """`fires` has the labels of each alert beside those of the place; none of them is silence."""

    alert: str
    when: str
    series: Mapping[str, str]
    at: str
    fires: Sequence[Mapping[str, str]] = ()
    here: Mapping[str, str] = field(default_factory=lambda: {"namespace": "n", "job": "t"})


def of(metric: str, **labels: str) -> str:
    """A series of the one process that there is, unless `labels` say of which."""
    own = {"namespace": "n", "job": "t", "instance": "a", **labels}
    return selector(metric, {name: value for name, value in own.items() if value})


def selector(metric: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{metric}{{{inside}}}"


def process(tier: str = "all", version: str = "1", **labels: str) -> dict[str, str]:
    return {of("tercet_build_info", tier=tier, version=version, **labels): f"1x{LONG}"}


def requests(answered: str, failed: str, reason: str = "BACKEND") -> dict[str, str]:
    return {
        of("nv_inference_request_success", model="m", version="1"): answered,
        of("nv_inference_request_failure", model="m", version="1", reason=reason): failed,
    }


def buckets(metric: str, counts: Mapping[str, str], **labels: str) -> dict[str, str]:
    return {of(f"{metric}_bucket", le=bound, **labels): values for bound, values in counts.items()}


THE_MODEL = {"model": "m"}
THE_VERSION = {"model": "m", "version": "1"}
THE_QUEUE = {"model": "m", "tier": "all"}
THE_PROCESS = {"instance": "a"}
TROUBLE = of("tercet_model_version_unavailable", model="m", version="1")
