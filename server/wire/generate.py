"""Triton's generate extension: one flat JSON object in, one flat JSON object out.

A key that names an input of the model is that tensor, every other key is a parameter, and so are the
keys of the object `parameters`. No shape is written: a list that is nested as the input is keeps its
shape, and any other has its elements dealt out over the input's dimensions.
Source: Triton's generate extension.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import orjson

from server.domain.errors import InvalidRequest
from server.domain.request import InferRequest, InferResponse
from server.domain.signature import Signature
from server.domain.tensors import DATATYPES, VARIABLE, Array, TensorSpec
from server.wire import json_text, parameters, values
from server.wire.outputs import named
from server.wire.raw import Buffer, written
from server.wire.tensor_json import parameters_of

_ID, _PARAMETERS = "id", "parameters"
_RESERVED = frozenset({_ID, "model_name", "model_version"})


def decode(body: Buffer, signature: Signature, *, version: str = "", now: float) -> InferRequest:
    """The request. An empty body has no inputs. Raises `InvalidRequest`, naming the key."""
    document = json_text.read(body) if body else {}
    if type(document) is not dict:
        raise InvalidRequest(f"the request must be a JSON object, but is {values.kind_of(document)}")
    specs = {spec.name: spec for spec in signature.inputs}
    model = signature.model
    request_id = "" if _ID in specs else _text_id(document.pop(_ID, ""))
    request = InferRequest(model, version, {}, request_id, arrived=now)
    others: dict[str, Any] = {}
    for key, value in _members(document, specs):
        if key in others or key in request.inputs:
            raise InvalidRequest(
                f"input '{key}' already exists in request: it is there for itself and in 'parameters'"
            )
        if key in specs:
            request.inputs[key] = _tensor(value, specs[key], f"input '{key}' for model '{model}'")
        else:
            others[key] = value
    request.deadline, request.priority, request.parameters = parameters.read(others, now)
    return request


def encode(response: InferResponse) -> bytes:
    """The outputs by their names, each its one element or a flat list.

    Bytes that are no text are written as `{"b64": "..."}`, and what is not finite as the bare literals
    that Triton writes. Raises `InferenceFailed` for an output that the protocol has no datatype for.
    """
    told = {"model_name": response.model, "model_version": response.version}
    text = orjson.dumps({_ID: response.id, **told} if response.id else told)[:-1]
    for name, array in response.outputs.items():
        datatype = named(response, name, array)
        if name not in _RESERVED:  # such an output is not shown, as in Triton
            text += b",%b:%b" % (orjson.dumps(name), _elements(datatype, array))
    return text + b"}"


def event(document: bytes) -> bytes:
    """One JSON document as a server-sent event."""
    return b"data: %b\n\n" % document


def _members(document: dict[str, Any], specs: Mapping[str, TensorSpec]) -> Iterator[tuple[str, Any]]:
    """The keys of the object, and in place of `parameters` those within, unless it is an input's name."""
    for key, value in document.items():
        if key == _PARAMETERS and key not in specs:
            yield from parameters_of(document, "the request").items()
        else:
            yield key, value


def _text_id(value: Any) -> str:
    if type(value) is not str:
        raise InvalidRequest(f"'id' must be a string, but is {values.kind_of(value)}")
    return value


def _tensor(value: Any, spec: TensorSpec, what: str) -> Array:
    came = values.shape_of(value)
    shape = _nested(spec, came) or _dealt(spec, prod(came))
    data = value if type(value) is list else [value]
    return values.array_of(data, DATATYPES[spec.datatype], shape, what)


def _nested(spec: TensorSpec, came: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape as it was written, where that fits, or fits with one row around it."""
    if spec.admits(came):
        return came
    return (1, *came) if spec.admits((1, *came)) else None


def _dealt(spec: TensorSpec, count: int) -> tuple[int, ...]:
    """A shape for so many elements: the innermost variable dimension takes what the fixed ones leave."""
    fixed = prod(size for size in spec.shape if size != VARIABLE)
    rest, left_over = divmod(count, fixed) if fixed else (0, count)
    shape = list(spec.shape)
    for place in reversed(range(len(shape))):
        if shape[place] == VARIABLE:
            shape[place], rest = rest, 1
    if left_over or (fixed and rest != 1):
        raise InvalidRequest(
            f"The schema can not convert input '{spec.name}' to tensor with proper shape: "
            f"its shape is {written(spec.shape)}, but {count} elements came"
        )
    return tuple(shape)


def _elements(datatype: str, array: Array) -> bytes:
    if datatype == "BYTES":
        text = orjson.dumps([values.text_of(element) for element in array.reshape(-1).tolist()])
    else:
        numbers = array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array
        text = json_text.write_elements(numbers)
    return text[1:-1] if array.size == 1 else text
