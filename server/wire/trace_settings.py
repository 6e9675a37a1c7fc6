"""What of the traces a client may read and change, as JSON values and as messages.

Source: Triton's trace extension. Values are text, but for the list of levels; what is null, or a message
without a value, is cleared.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from protos import inference_pb2 as pb
from server.domain.errors import InvalidRequest, NotSupported
from server.observe.tracing.sampling import Change, Level, Sampling
from server.wire import json_text
from server.wire.raw import Buffer
from server.wire.values import kind_of, shown

LEAST = {"trace_rate": 0, "trace_count": -1, "log_frequency": 0}
FIELDS = {
    "trace_level": "level",
    "trace_rate": "rate",
    "trace_count": "count",
    "log_frequency": "log_frequency",
}
FIXED = {"trace_file": "trace file location", "trace_mode": "trace mode"}
MOST = 2**31 - 1


def trace_settings(sampling: Sampling, mode: str) -> dict[str, str | list[str]]:
    return {
        "trace_level": [sampling.level],
        "trace_rate": str(sampling.rate),
        "trace_count": str(sampling.count),
        "log_frequency": str(sampling.log_frequency),
        "trace_file": "",
        "trace_mode": mode,
    }


def trace_settings_message(sampling: Sampling, mode: str) -> pb.TraceSettingResponse:
    message = pb.TraceSettingResponse()
    for name, value in trace_settings(sampling, mode).items():
        message.settings[name].value.extend([value] if isinstance(value, str) else value)
    return message


def decode(body: Buffer) -> Change:
    """A POST's changes; an empty body has none. Raises `InvalidRequest` or `NotSupported`."""
    document = json_text.read(body) if body else {}
    if type(document) is not dict:
        raise InvalidRequest(f"the request must be a JSON object, but is {kind_of(document)}")
    given = {
        name: None if value is None else value if type(value) is list else [value]
        for name, value in document.items()
    }
    return _change(given)


def change_of(message: pb.TraceSettingRequest) -> Change:
    """A message's changes; one without any asks what the settings are."""
    return _change({name: list(setting.value) or None for name, setting in message.settings.items()})


def _change(given: Mapping[str, Sequence[Any] | None]) -> Change:
    changes: dict[str, Any] = {}
    cleared = set()
    for name, values in given.items():
        if name in FIXED:
            raise NotSupported(f"{FIXED[name]} can not be updated through network protocol")
        if name not in FIELDS:
            raise InvalidRequest(f"there is no trace setting {shown(name)}; there are {', '.join(FIELDS)}")
        if values is None:
            cleared.add(FIELDS[name])
        elif name == "trace_level":
            changes["level"] = _level(values)
        else:
            changes[FIELDS[name]] = _number(name, values)
    return Change(**changes, cleared=frozenset(cleared))


def _level(values: Sequence[Any]) -> Level:
    if "TENSORS" in values:
        raise NotSupported("trace level TENSORS is not offered: there are OFF and TIMESTAMPS")
    for value in values:
        if value not in ("OFF", "TIMESTAMPS"):
            raise InvalidRequest(
                f"trace setting 'trace_level' must be a list of OFF or TIMESTAMPS, but has {shown(value)}"
            )
    return "TIMESTAMPS" if "TIMESTAMPS" in values else "OFF"


def _number(name: str, values: Sequence[Any]) -> int:
    value = values[0] if len(values) == 1 else values
    digits = str(value) if type(value) is int else value
    if not isinstance(digits, str) or not digits.removeprefix("-").isdecimal() or len(digits) > 11:
        raise _wrong(name, value)
    number = int(digits)
    if not LEAST[name] <= number <= MOST:
        raise _wrong(name, value)
    return number


def _wrong(name: str, value: object) -> InvalidRequest:
    return InvalidRequest(
        f"trace setting '{name}' must be a whole number from {LEAST[name]} to {MOST}, as text, "
        f"but is {kind_of(value)}: {shown(value)}"
    )
