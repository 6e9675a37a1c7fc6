"""What a request says besides its numbers, remembered: the same text comes again with other numbers.

A client that asks a model asks it in one shape, so of all it sends only the elements change. What stands
around them is read once and kept with the version's signature, for requests that fitted, and only where the
same bytes can only mean the same another time: no id, no classes, no parameters but for the answer's form.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import orjson
from numpy import ndarray

from server.domain.errors import InvalidRequest
from server.domain.request import FOREVER, NO_PARAMETERS, InferRequest
from server.domain.signature import Signature
from server.domain.tensors import Array
from server.wire.form import ReplyForm

LONGEST = 2048
"""Bytes of text that are kept for one layout."""

MOST = 256
"""Layouts that are kept for one version."""

Read = tuple[InferRequest, ReplyForm]


@dataclass(frozen=True, slots=True)
class Known:
    """What every request of one layout has in common; `tensors` has name, shape and dtype of each."""

    tensors: tuple[tuple[str, tuple[int, ...], np.dtype[Any]], ...]
    rows: int
    outputs: tuple[str, ...]
    form: ReplyForm

    def request(self, inputs: dict[str, Array], model: str, version: str, now: float) -> Read:
        """One more of them, with these inputs."""
        return (
            InferRequest(model, version, inputs, "", self.outputs, NO_PARAMETERS, FOREVER, 0, now, self.rows),
            self.form,
        )


def known_of(request: InferRequest, form: ReplyForm, signature: Signature) -> Known | None:
    """What is to be remembered of a request; None if its like may mean something else, or did not fit."""
    if request.id or form.classes or request.parameters or request.priority or request.deadline != FOREVER:
        return None
    if any(array.dtype.kind in "Ob" for array in request.inputs.values()):
        return None  # the elements of these are looked at one by one
    try:
        rows = signature.rows(request.inputs)
    except InvalidRequest:
        return None  # whoever asked hears of it further on
    tensors = tuple((name, array.shape, array.dtype) for name, array in request.inputs.items())
    return Known(tensors, rows, request.outputs, form)


def keep(signature: Signature, text: bytes, layout: Any) -> None:
    if len(text) <= LONGEST:
        if len(signature.remembered) >= MOST:
            signature.remembered.clear()
        signature.remembered[text] = layout


# Bytes after JSON


class BinaryLayout:
    """The tensors lie behind the text, one after the other; `frame` is for who remembers an answer by it."""

    __slots__ = ("_one", "_tensors", "frame", "known", "size")

    def __init__(self, known: Known) -> None:
        tensors = []
        at = 0
        for name, shape, dtype in known.tensors:
            tensors.append((name, shape, dtype, at))
            at += prod(shape) * dtype.itemsize
        self._tensors = tuple(tensors)
        self._one = known.tensors[0] if len(known.tensors) == 1 else None
        self.known = known
        self.size = at
        self.frame: Any = None

    def read(self, data: bytes, at: int) -> dict[str, Array] | None:
        """View the tensors from there to the end; None if they do not end there."""
        if at + self.size != len(data):
            return None
        if self._one is not None:  # most models: a loop less
            name, shape, dtype = self._one
            return {name: ndarray(shape, dtype, data, at)}
        return {
            name: ndarray(shape, dtype, data, at + offset) for name, shape, dtype, offset in self._tensors
        }


def find_binary(
    body: bytes, header_length: int, signature: Signature, version: str, now: float
) -> Read | None:
    """A request whose JSON is known; None for any other."""
    layout = signature.remembered.get(body[:header_length])
    if type(layout) is not BinaryLayout:
        return None
    inputs = layout.read(body, header_length)
    return None if inputs is None else layout.known.request(inputs, signature.model, version, now)


# Elements within JSON

_ELEMENTS = b'"data":'
_NUMBERS = re.compile(rb"[][\d\s,.eE+-]*")
_CODES: Mapping[str, str] = {"float32": "f", "float64": "d"} | {
    f"{sign}int{8 * size}": code.upper() if sign else code
    for sign in ("", "u")
    for size, code in ((1, "b"), (2, "h"), (4, "i"), (8, "q"))
}
"""struct's letter for each datatype of numbers that JSON can carry."""


class JsonLayout:
    """One tensor, whose elements stand between the text that it is known by and `tail`."""

    __slots__ = ("_dtype", "_elements", "_name", "_shape", "known", "tail")

    def __init__(self, known: Known, tail: bytes) -> None:
        ((self._name, self._shape, self._dtype),) = known.tensors
        self.known = known
        self._elements = struct.Struct(f"<{prod(self._shape)}{_CODES[self._dtype.name]}")
        self.tail = tail

    def inputs(self, text: bytes) -> dict[str, Array] | None:
        """A flat JSON list as the tensor; None for anything else, which is to be read with more care.

        struct checks while it converts: the count, the range, and no text, list or null among the
        numbers. Only a bool passes for a number: each has an `e`, as few numbers do, and an `a` or a `u`.
        """
        if b"e" in text and (b"u" in text or b"a" in text):
            return None
        try:
            packed = self._elements.pack(*orjson.loads(text))
        except (orjson.JSONDecodeError, struct.error, OverflowError, TypeError):
            return None
        return {self._name: np.ndarray(self._shape, self._dtype, packed)}

    def read(self, data: bytes, at: int) -> dict[str, Array] | None:
        """The tensor whose elements stand between there and the tail; None as `inputs` has it."""
        tail = self.tail
        return self.inputs(data[at : len(data) - len(tail)]) if data.endswith(tail) else None


Layout = BinaryLayout | JsonLayout


def kept_for(body: bytes, header_length: int | None, signature: Signature) -> tuple[int, Layout] | None:
    """The layout that is remembered for a body, and where its elements begin; None if there is none."""
    at = body.find(_ELEMENTS, 0, LONGEST) + len(_ELEMENTS) if header_length is None else header_length
    layout = signature.remembered.get(body[:at])
    return None if layout is None else (at, layout)


def find_json(body: bytes, signature: Signature, version: str, now: float) -> Read | None:
    """A request whose text around the elements is known; None for any other."""
    at = body.find(_ELEMENTS, 0, LONGEST) + len(_ELEMENTS)
    layout = signature.remembered.get(body[:at])
    if type(layout) is JsonLayout and body.endswith(layout.tail):
        inputs = layout.inputs(body[at : len(body) - len(layout.tail)])
        if inputs is not None:
            return layout.known.request(inputs, signature.model, version, now)
    return None


def keep_json(
    body: bytes, document: dict[str, Any], request: InferRequest, form: ReplyForm, signature: Signature
) -> None:
    """Remember a request of one tensor, if its elements stand where `find_json` will look for them."""
    at = body.find(_ELEMENTS, 0, LONGEST) + len(_ELEMENTS)
    if at < len(_ELEMENTS) or len(request.inputs) != 1:
        return
    numbers = _NUMBERS.match(body, at)
    assert numbers is not None
    tail = body[at + len(numbers.group().rstrip(b" \t\r\n,")) :]
    known = known_of(request, form, signature)
    if known is None or len(tail) > LONGEST or known.tensors[0][2].name not in _CODES:
        return
    try:
        emptied = orjson.loads(body[:at] + b"[]" + tail)
    except orjson.JSONDecodeError:
        return
    tensor = {**document["inputs"][0], "data": []}
    if emptied == {**document, "inputs": [tensor]}:  # so nothing but the elements stood between the two
        keep(signature, body[:at], JsonLayout(known, tail))
