"""JSON values to arrays, exactly: nothing is rounded, cut off or guessed on the way.

A float is not taken for a whole number, nor a bool for a number, nor a text for either; what does
not fit its datatype is refused.
"""

import base64
import binascii
import reprlib
from collections.abc import Sequence
from itertools import chain
from math import isfinite, prod
from typing import Any

import numpy as np

from server.domain.errors import InvalidRequest
from server.domain.tensors import Array, Datatype
from server.wire.raw import shaped, written

_NUMBERS = frozenset({float, int})
_INTEGERS = frozenset({int})
_TRUTHS = frozenset({bool})
_TEXTS = frozenset({str})
_LISTS = frozenset({list})

_SHORT = reprlib.Repr()
"""Looks neither at all of a long value nor to the bottom of a deep one: Python's own `repr` would."""
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 100

_KINDS = {
    bool: "a bool",
    int: "a whole number",
    float: "a float",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    return _KINDS.get(type(value), "null")


def shape_of(value: Any) -> tuple[int, ...]:
    """As far as the first elements tell; whether all agree is seen when they are counted."""
    shape: list[int] = []
    while type(value) is list:
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def array_of(data: Sequence[Any], datatype: Datatype, shape: Sequence[int], what: str) -> Array:
    """The array of a JSON list, nested in any regular way or flat, in row-major order.

    `what` names the tensor in a sentence, such as "input 'X' for model 'M'". Raises `InvalidRequest`.
    """
    flat = _flattened(data, what)
    if len(flat) != prod(shape):
        raise InvalidRequest(
            f"unexpected number of elements for {what}: "
            f"shape {written(shape)} has {prod(shape)}, data has {len(flat)}"
        )
    elements = _elements(flat, datatype, what)
    return elements if len(shape) == 1 else shaped(elements, shape, what)


def _flattened(data: Sequence[Any], what: str) -> Sequence[Any]:
    while data and type(data[0]) is list:
        if set(map(type, data)) != _LISTS:
            odd = next(value for value in data if type(value) is not list)
            raise InvalidRequest(f"data of {what} has {kind_of(odd)} among lists")
        data = list(chain.from_iterable(data))
    return data


def _elements(flat: Sequence[Any], datatype: Datatype, what: str) -> Array:
    kinds = set(map(type, flat))
    number_kind = datatype.dtype.kind
    if number_kind in "iu":
        if not kinds <= _INTEGERS:
            _refuse(flat, _INTEGERS, datatype, what)
        try:
            return np.array(flat, datatype.dtype)
        except OverflowError:
            limits = np.iinfo(datatype.dtype)
            odd = next(value for value in flat if not limits.min <= value <= limits.max)
            raise InvalidRequest(
                f"{what} is {datatype.name}, from {limits.min} to {limits.max}, but holds {odd}"
            ) from None
    if number_kind == "b":
        if not kinds <= _TRUTHS:
            _refuse(flat, _TRUTHS, datatype, what)
        return np.array(flat, datatype.dtype)
    if number_kind == "O":
        return _bytes_of(flat, kinds, datatype, what)
    if not kinds <= _NUMBERS:
        _refuse(flat, _NUMBERS, datatype, what)
    try:
        array = np.array(flat, datatype.dtype)
        if not isfinite(array.dot(array)):  # cheap, and false for whatever might be too large
            with np.errstate(over="raise"):
                return np.array(flat, datatype.dtype)
    except (FloatingPointError, OverflowError):
        raise InvalidRequest(f"{what} is {datatype.name}, but holds a number too large for it") from None
    return array


def _bytes_of(flat: Sequence[Any], kinds: set[type], datatype: Datatype, what: str) -> Array:
    elements: Array = np.empty(len(flat), dtype=object)
    try:
        if kinds <= _TEXTS:
            elements[:] = [text.encode() for text in flat]
        else:
            elements[:] = [value.encode() if type(value) is str else _decoded(value) for value in flat]
    except (TypeError, KeyError, binascii.Error, ValueError):
        if {dict} & kinds and kinds <= {dict, str}:
            raise InvalidRequest(
                f'{what} has an object that is not {{"b64": "..."}} with standard base64 in it'
            ) from None
        _refuse(flat, _TEXTS | {dict}, datatype, what)
    return elements


def base64_of(content: bytes) -> str:
    """How bytes that are no text are written in JSON, as `{"b64": ...}`."""
    return base64.b64encode(content).decode()


def text_of(element: Any) -> Any:
    """An element of a BYTES tensor as JSON has it: a text, or `{"b64": "..."}` if its bytes are none."""
    if not isinstance(element, bytes):
        return str(element)
    try:
        return element.decode()
    except UnicodeDecodeError:
        return {"b64": base64_of(element)}


def _decoded(value: Any) -> bytes:
    if type(value) is not dict or len(value) != 1:
        raise TypeError
    return base64.b64decode(value["b64"], validate=True)


def _refuse(flat: Sequence[Any], taken: frozenset[type], datatype: Datatype, what: str) -> None:
    index, odd = next((index, value) for index, value in enumerate(flat) if type(value) not in taken)
    raise InvalidRequest(
        f"{what} is {datatype.name}, but element {index} of its data is {kind_of(odd)}: {shown(odd)}"
    )


def shown(value: object) -> str:
    """A value of the caller's in a sentence, cut short."""
    text = "null" if value is None else _SHORT.repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
