"""What `--trace-config` says, in Triton's words: SETTING=VALUE for all modes, or MODE,SETTING=VALUE for one.

Source: Triton's user guide on traces, and its command line. Its mode `triton`, which writes a file, is not
offered; neither is its level TENSORS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from server.observe.tracing.sampling import Sampling

Mode = Literal["triton", "opentelemetry"]
DEFAULT_URL = "http://localhost:4318/v1/traces"


class TraceConfigInvalid(Exception):
    """The sentence names what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceConfig:
    """resource   what is said of this process beside what it says itself, by its name in OpenTelemetry"""

    mode: Mode = "triton"
    url: str = DEFAULT_URL
    resource: Mapping[str, str] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def wants_traces(self) -> bool:
        return self.mode == "opentelemetry" and self.sampling.level != "OFF"


def read(words: Sequence[str]) -> TraceConfig:
    """Raises `TraceConfigInvalid`. Of several words for one setting the last counts."""
    mode: Mode = "triton"
    url = DEFAULT_URL
    resource: dict[str, str] = {}
    numbers = {"rate": Sampling().rate, "count": Sampling().count}
    levels: list[str] = []
    for word in words:
        for_mode, comma, setting = word.partition(",")
        name, equals, value = (setting if comma else word).partition("=")
        if not equals or (comma and for_mode not in ("triton", "opentelemetry")):
            raise TraceConfigInvalid(f"{word}: write SETTING=VALUE, or MODE,SETTING=VALUE")
        match (for_mode if comma else "", name):
            case ("", "mode") if value in ("triton", "opentelemetry"):
                mode = "opentelemetry" if value == "opentelemetry" else "triton"
            case ("", "level"):
                levels.append(value.upper())
            case ("", "rate" | "count"):
                numbers[name] = _number(word, value, at_least=0 if name == "rate" else -1)
            case ("opentelemetry", "url"):
                url = value
            case ("opentelemetry", "resource"):
                key, _, said = value.partition("=")
                resource[key] = said
            case ("opentelemetry", "bsp_max_queue_size" | "bsp_schedule_delay" | "bsp_max_export_batch_size"):
                _number(word, value, at_least=1)  # ours are what they are
            case ("triton", "file" | "log-frequency"):
                pass
            case _:
                raise TraceConfigInvalid(f"{word}: there is no such setting, or not this value of it")
    wrong = [level for level in levels if level not in ("OFF", "TIMESTAMPS", "TENSORS")]
    if wrong:
        raise TraceConfigInvalid(f"level={wrong[0]}: there are OFF and TIMESTAMPS")
    if "TENSORS" in levels and mode == "opentelemetry":
        raise TraceConfigInvalid("level=TENSORS is not offered: there are OFF and TIMESTAMPS")
    level: Literal["OFF", "TIMESTAMPS"] = "TIMESTAMPS" if "TIMESTAMPS" in levels else "OFF"
    return TraceConfig(
        mode=mode,
        url=url,
        resource=resource,
        sampling=Sampling(level=level, rate=numbers["rate"], count=numbers["count"]),
    )


def _number(word: str, value: str, *, at_least: int) -> int:
    try:
        number = int(value)
    except ValueError:
        number = at_least - 1
    if number < at_least:
        raise TraceConfigInvalid(f"{word}: must be a whole number, at least {at_least}")
    return number
