"""Parameters of a request: which of them the server itself understands, and which go to the model."""

from collections.abc import Mapping
from typing import Any

from server.domain.errors import InvalidRequest
from server.domain.request import FOREVER, NO_PARAMETERS, Parameters
from server.wire.values import kind_of, shown

_KNOWN_TRITON = frozenset({"triton_enable_empty_final_response"})
_MICROSECONDS = 1e-6
_LARGEST = 2**64 - 1
_SMALLEST = -(2**63)
_SHARED_MEMORY = frozenset({"shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"})
_PARAMETER_KINDS = frozenset({bool, int, float, str})
_SEQUENCE_FLAGS = frozenset({"sequence_start", "sequence_end"})


def read(parameters: Mapping[str, Any], now: float) -> tuple[float, int, Parameters]:
    """The deadline (of the monotonic clock, as `now` is), the priority, and what goes to the model.

    `sequence_*` goes along with the model's own. Raises `InvalidRequest`, naming the parameter.
    Source: Open Inference Protocol, and Triton's schedule policy and sequence extensions.
    """
    deadline = FOREVER
    priority = 0
    others: dict[str, Any] | None = None
    for key, value in parameters.items():
        if key == "binary_data_output":
            flag(parameters, key, "the request")
        elif key == "timeout":
            if timeout := whole(parameters, key, "the request"):
                deadline = now + timeout * _MICROSECONDS
        elif key == "priority":
            priority = whole(parameters, key, "the request")
        else:
            _check(key, value)
            if others is None:
                others = {}
            others[key] = value
    return deadline, priority, NO_PARAMETERS if others is None else others


def _check(key: str, value: object) -> None:
    if key == "headers" or (key.startswith("triton_") and key not in _KNOWN_TRITON):
        raise InvalidRequest(
            f"parameter '{key}' is reserved: "
            "'headers', and keys that start with 'triton_', are the server's own"
        )
    if type(value) not in _PARAMETER_KINDS:
        raise InvalidRequest(
            f"parameter '{key}' must be a string, a number or a bool, but is {kind_of(value)}"
        )
    if key in _SEQUENCE_FLAGS and type(value) is not bool:
        raise InvalidRequest(f"parameter '{key}' must be a bool, but is {kind_of(value)}: {shown(value)}")
    if key == "sequence_id" and not (type(value) is str or (type(value) is int and value >= 0)):
        raise InvalidRequest(
            f"parameter '{key}' must be a string or a whole number from 0 on, not {shown(value)}"
        )
    if type(value) is int and not _SMALLEST <= value <= _LARGEST:
        raise InvalidRequest(f"parameter '{key}' does not fit 64 bits: {shown(value)}")


def flag(parameters: Mapping[str, Any], key: str, whose: str, default: bool = False) -> bool:
    """A bool of that name, or the default where there is none."""
    value = parameters.get(key, default)
    if type(value) is not bool:
        raise InvalidRequest(
            f"parameter '{key}' of {whose} must be a bool, but is {kind_of(value)}: {shown(value)}"
        )
    return value


def whole(parameters: Mapping[str, Any], key: str, whose: str) -> int:
    """A number from 0 to 2**64 - 1 of that name, or 0 where there is none."""
    value = parameters.get(key, 0)
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise InvalidRequest(
            f"parameter '{key}' of {whose} must be a whole number from 0 on, "
            f"but is {kind_of(value)}: {shown(value)}"
        )
    return value


def names_shared_memory(parameters: Mapping[str, Any]) -> bool:
    """Whether a tensor is to be read from, or written to, a region of shared memory."""
    return not _SHARED_MEMORY.isdisjoint(parameters)
