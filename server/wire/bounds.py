"""Holds what a client has sent against the limits, before anything is made of it.

For requests that are large enough to be over one: see `Limits.harmless_bytes`. What is malformed is passed
by; whoever decodes it says so.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from protos import inference_pb2 as pb
from server.domain.errors import InvalidRequest, RequestTooLarge
from server.domain.limits import MOST_DIMENSIONS, OPTIONS, Limits, beyond, check_name
from server.domain.request import InferRequest
from server.wire.values import shape_of

REQUEST = "the request"


def check_document(document: dict[str, Any], limits: Limits) -> None:
    """An infer request that came as JSON. Raises `InvalidRequest` or `RequestTooLarge`, naming the option."""
    identity = document.get("id")
    if type(identity) is str:
        _check_id(identity, limits)
    if "parameters" in document:
        _check_parameters(document["parameters"], REQUEST, limits)
    for key, kind in (("inputs", "input"), ("outputs", "output")):
        tensors = document.get(key)
        if type(tensors) is not list:
            continue
        _check_count(len(tensors), key, limits)
        for tensor in tensors:
            if type(tensor) is dict:
                _check_tensor_of_document(tensor, kind, limits)
    _check_depth(document, limits)


def _check_tensor_of_document(tensor: dict[str, Any], kind: str, limits: Limits) -> None:
    name = tensor.get("name")
    if type(name) is not str:
        return
    check_name(name, f"an {kind}", limits)
    what = f"{kind} '{name}'"
    shape = tensor.get("shape")
    if type(shape) is list and all(type(size) is int for size in shape[: MOST_DIMENSIONS + 1]):
        _check_shape(shape, what, limits)
    if "parameters" in tensor:
        _check_parameters(tensor["parameters"], what, limits)


def check_request(request: InferRequest, limits: Limits) -> None:
    """A request that came as plain JSON, once it is read. Raises `InvalidRequest`, naming the option."""
    _check_id(request.id, limits)
    _check_named(request.parameters, REQUEST, limits)


def check_message(message: pb.ModelInferRequest, limits: Limits) -> None:
    """An infer request that came as a message. Raises `InvalidRequest` or `RequestTooLarge`."""
    check_name(message.model_name, "the model", limits)
    _check_id(message.id, limits)
    if message.parameters:
        _check_message_parameters(message.parameters, REQUEST, limits)
    _check_count(len(message.inputs), "inputs", limits)
    for tensor in message.inputs:
        _check_shape(tensor.shape, _checked(tensor, "input", limits), limits)
    _check_count(len(message.outputs), "outputs", limits)
    for output in message.outputs:
        _checked(output, "output", limits)


def _checked(tensor: Any, kind: str, limits: Limits) -> str:
    """What to call the tensor in a sentence, its name and parameters being within the limits."""
    name = tensor.name
    check_name(name, f"an {kind}", limits)
    what = f"{kind} '{name}'"
    if tensor.parameters:
        _check_message_parameters(tensor.parameters, what, limits)
    return what


def _check_id(identity: str, limits: Limits) -> None:
    if len(identity) > limits.id_length:
        raise InvalidRequest(
            f"the id of the request has {len(identity)} characters, {beyond(limits, 'id_length')}"
        )


def _check_count(count: int, what: str, limits: Limits) -> None:
    if count > limits.tensors:
        raise InvalidRequest(f"the request has {count} {what}, {beyond(limits, 'tensors')}")


def _check_shape(shape: Sequence[int], what: str, limits: Limits) -> None:
    """Without multiplying more sizes than an array has: a million of them would take minutes."""
    if len(shape) > MOST_DIMENSIONS:
        raise InvalidRequest(
            f"unexpected shape for {what}: it has {len(shape)} dimensions, "
            f"but a tensor has {MOST_DIMENSIONS} at most"
        )
    count = prod(shape)
    if count > limits.elements:
        raise RequestTooLarge(f"{what} has {count} elements, {beyond(limits, 'elements')}")


def _check_parameters(parameters: object, whose: str, limits: Limits) -> None:
    if type(parameters) is dict:
        _check_named(parameters, whose, limits)


def _check_message_parameters(parameters: Mapping[str, Any], whose: str, limits: Limits) -> None:
    _check_named({key: value.string_param for key, value in parameters.items()}, whose, limits)


def _check_named(parameters: Mapping[str, Any], whose: str, limits: Limits) -> None:
    if len(parameters) > limits.parameters:
        raise InvalidRequest(f"{whose} has {len(parameters)} parameters, {beyond(limits, 'parameters')}")
    for key, value in parameters.items():
        check_name(key, f"a parameter of {whose}", limits)
        if type(value) is str and len(value) > limits.string_length:
            raise InvalidRequest(
                f"parameter '{key}' of {whose} has {len(value)} characters, {beyond(limits, 'string_length')}"
            )


def _check_depth(document: dict[str, Any], limits: Limits) -> None:
    """Of data only the first elements are looked at: where others nest deeper, it is no tensor's."""
    inputs = document.get("inputs")
    tensors = inputs if type(inputs) is list else []
    if max(map(_depth_of_data, tensors), default=0) > limits.json_depth:
        raise _too_deep(limits)
    level: list[Any] = [{**document, "inputs": [*map(_without_data, tensors)]} if tensors else document]
    for _ in range(limits.json_depth):
        level = [
            inner
            for holder in level
            for inner in (holder.values() if type(holder) is dict else holder)
            if type(inner) in _HOLDERS
        ]
        if not level:
            return
    raise _too_deep(limits)


_HOLDERS = frozenset({dict, list})
_ABOVE_DATA = 3
"""The request, its inputs, and one of them."""


def _depth_of_data(tensor: Any) -> int:
    return _ABOVE_DATA + len(shape_of(tensor.get("data"))) if type(tensor) is dict else 0


def _without_data(tensor: Any) -> Any:
    if type(tensor) is not dict:
        return tensor
    return {member: value for member, value in tensor.items() if member != "data"}


def _too_deep(limits: Limits) -> InvalidRequest:
    return InvalidRequest(
        f"the request's JSON nests deeper than the {limits.json_depth} levels "
        f"that {OPTIONS['json_depth']} allows"
    )
