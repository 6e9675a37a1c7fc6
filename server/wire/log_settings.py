"""What of the log a client may read and change, as JSON values and as messages.

Source: Triton's logging extension; `json` among the formats is ours.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from protos import inference_pb2 as pb
from server.domain.errors import InvalidRequest, NotSupported
from server.observe.logs import Format, LogSettings
from server.wire import json_text
from server.wire.raw import Buffer
from server.wire.values import kind_of, shown

_SWITCHES = {"log_info": "info", "log_warning": "warning", "log_error": "error"}
_KNOWN = (*_SWITCHES, "log_verbose_level", "log_format")
_MOST_VERBOSE = 2**31 - 1


def log_settings(settings: LogSettings) -> dict[str, Any]:
    """All of them, by their names on the wire; `log_file` is empty where there is none."""
    return {
        "log_file": str(settings.file or ""),
        "log_info": settings.info,
        "log_warning": settings.warning,
        "log_error": settings.error,
        "log_verbose_level": settings.verbose,
        "log_format": settings.format,
    }


def log_settings_message(settings: LogSettings) -> pb.LogSettingsResponse:
    message = pb.LogSettingsResponse()
    for name, value in log_settings(settings).items():
        match value:
            case bool():
                message.settings[name].bool_param = value
            case int():
                message.settings[name].uint32_param = value
            case _:
                message.settings[name].string_param = value
    return message


def decode(body: Buffer, settings: LogSettings) -> LogSettings:
    """The settings with a POST's changes; an empty body has none."""
    document = json_text.read(body) if body else {}
    if type(document) is not dict:
        raise InvalidRequest(f"the request must be a JSON object, but is {kind_of(document)}")
    return _changed(settings, document)


def settings_of(message: pb.LogSettingsRequest, settings: LogSettings) -> LogSettings:
    """The settings with a message's changes; a message without any asks what they are."""
    given = {
        name: getattr(value, value.WhichOneof("parameter_choice") or "", None)
        for name, value in message.settings.items()
    }
    return _changed(settings, given)


def _changed(settings: LogSettings, given: Mapping[str, Any]) -> LogSettings:
    """`None` leaves a setting as it is. Raises `InvalidRequest`, or `NotSupported` for `log_file`."""
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name != "log_file" and name not in _KNOWN:
            raise InvalidRequest(f"there is no log setting {shown(name)}; there are {', '.join(_KNOWN)}")
        if value is None:
            continue
        if name == "log_file":
            raise NotSupported("log file location can not be updated through network protocol")
        if name in _SWITCHES:
            if type(value) is not bool:
                raise _wrong(name, "a bool", value)
            changes[_SWITCHES[name]] = value
        elif name == "log_verbose_level":
            if type(value) is not int or not 0 <= value <= _MOST_VERBOSE:
                raise _wrong(name, f"a whole number from 0 to {_MOST_VERBOSE}", value)
            changes["verbose"] = value
        else:
            if value not in get_args(Format):
                raise _wrong(name, f"one of {', '.join(get_args(Format))}", value)
            changes["format"] = value
    return replace(settings, **changes)


def _wrong(name: str, expected: str, value: object) -> InvalidRequest:
    return InvalidRequest(f"log setting '{name}' must be {expected}, but is {kind_of(value)}: {shown(value)}")
