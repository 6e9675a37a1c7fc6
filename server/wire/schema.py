"""What a model's requests and answers look like, as schemas and examples for the OpenAPI page.

The schemas keep to OpenAPI 3.0, which is not all of JSON Schema: no `const`, and every array has `items`.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from server.domain.signature import Signature
from server.domain.tensors import VARIABLE, TensorSpec

_ELEMENTS: dict[str, tuple[dict[str, Any], Any]] = {
    "BOOL": ({"type": "boolean"}, False),
    "BYTES": (
        {
            "oneOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "required": ["b64"],
                    "properties": {"b64": {"type": "string", "format": "byte"}},
                },
            ]
        },
        "text",
    ),
    **{
        f"INT{bits}": ({"type": "integer", "minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}, 0)
        for bits in (8, 16, 32, 64)
    },
    **{
        f"UINT{bits}": ({"type": "integer", "minimum": 0, "maximum": 2**bits - 1}, 0)
        for bits in (8, 16, 32, 64)
    },
    **{name: ({"type": "number"}, 0.0) for name in ("FP16", "BF16", "FP32", "FP64")},
}
"""Datatype -> the schema of one element, and an example of it."""

_EXAMPLE_ELEMENTS = 1024
"""A page does not show examples of more elements than this: they are left out."""


def infer_request_schema(signature: Signature) -> dict[str, Any]:
    """Of the body of an infer request, all in JSON."""
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "description": "comes back with the answer"},
            "parameters": {"type": "object"},
            "inputs": _tensors_schema(signature.inputs),
            "outputs": {
                "type": "array",
                "description": "the outputs that are wanted; all, if it is left out",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"type": "string", "enum": [spec.name for spec in signature.outputs]},
                        "parameters": {"type": "object"},
                    },
                },
            },
        },
    }


def infer_request_example(signature: Signature) -> dict[str, Any]:
    return {
        "inputs": [_tensor_example(spec) for spec in signature.inputs if spec.name not in signature.optional]
    }


def infer_response_schema(signature: Signature) -> dict[str, Any]:
    """Of the answer, all in JSON."""
    return {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "id": {"type": "string"},
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "outputs": _tensors_schema(signature.outputs),
        },
    }


def plain_request_schema(signature: Signature) -> dict[str, Any]:
    """Of the body of a predict request: an object, or a list of them where the model has rows."""
    required = [spec.name for spec in signature.inputs if spec.name not in signature.optional]
    one = {**_row_schema(signature.inputs, signature), "required": required, "additionalProperties": False}
    return _one_or_many(one, signature)


def plain_request_example(signature: Signature) -> dict[str, Any]:
    return {
        spec.name: _row_example(spec, signature)
        for spec in signature.inputs
        if spec.name not in signature.optional
    }


def plain_answer_schema(signature: Signature) -> dict[str, Any]:
    """Of the answer to a predict request: a list for a list. What is not finite is written as null."""
    row = {
        "type": "object",
        "properties": {
            spec.name: _value_schema(_dims(spec, signature), _answered(spec.datatype))
            for spec in signature.outputs
        },
    }
    return _one_or_many(row, signature)


def plain_answer_example(signature: Signature) -> dict[str, Any]:
    return {spec.name: _row_example(spec, signature) for spec in signature.outputs}


def _tensors_schema(specs: Sequence[TensorSpec]) -> dict[str, Any]:
    return {
        "type": "array",
        "items": {"oneOf": [_tensor_schema(spec) for spec in specs]}
        if len(specs) != 1
        else _tensor_schema(specs[0]),
    }


def _tensor_schema(spec: TensorSpec) -> dict[str, Any]:
    return {
        "type": "object",
        "title": spec.name,
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string", "enum": [spec.name]},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0},
                "minItems": len(spec.shape),
                "maxItems": len(spec.shape),
                "description": f"fits {list(spec.shape)}, where -1 is any size",
            },
            "datatype": {"type": "string", "enum": [spec.datatype]},
            "parameters": {"type": "object"},
            "data": {
                "type": "array",
                "items": {},
                "description": "the elements in row-major order, flat or nested",
            },
        },
    }


def _tensor_example(spec: TensorSpec) -> dict[str, Any]:
    shape = _example_shape(spec.shape)
    tensor: dict[str, Any] = {"name": spec.name, "shape": list(shape), "datatype": spec.datatype}
    if prod(shape) <= _EXAMPLE_ELEMENTS:
        tensor["data"] = [_ELEMENTS[spec.datatype][1]] * prod(shape)
    return tensor


def _example_shape(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(1 if size == VARIABLE else size for size in shape)


def _dims(spec: TensorSpec, signature: Signature) -> tuple[int, ...]:
    return spec.shape[1:] if signature.max_batch_size else spec.shape


def _row_schema(specs: Sequence[TensorSpec], signature: Signature) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            spec.name: _value_schema(_dims(spec, signature), _ELEMENTS[spec.datatype][0]) for spec in specs
        },
    }


def _answered(datatype: str) -> dict[str, Any]:
    element = _ELEMENTS[datatype][0]
    return {**element, "nullable": True} if element.get("type") == "number" else element


def _value_schema(dims: Sequence[int], element: dict[str, Any]) -> dict[str, Any]:
    if tuple(dims) in ((), (1,)):
        return dict(element)
    schema = dict(element)
    for size in reversed(dims):
        schema = {"type": "array", "items": schema}
        if size != VARIABLE:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def _row_example(spec: TensorSpec, signature: Signature) -> Any:
    dims = _example_shape(_dims(spec, signature))
    value = _ELEMENTS[spec.datatype][1]
    if dims in ((), (1,)):
        return value
    if prod(dims) > _EXAMPLE_ELEMENTS:
        return []
    for size in reversed(dims):
        value = [value] * size
    return value


def _one_or_many(one: dict[str, Any], signature: Signature) -> dict[str, Any]:
    return {"oneOf": [one, {"type": "array", "items": one}]} if signature.max_batch_size else one
