"""What a model's infer requests and their answers look like, as schemas and examples for the OpenAPI page.

The schemas keep to OpenAPI 3.0, which is not all of JSON Schema: no `const`, and every array has `items`.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from server.domain.signature import Signature
from server.domain.tensors import VARIABLE, TensorSpec

ELEMENTS: dict[str, tuple[dict[str, Any], Any]] = {
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

_ONLY_BINARY = frozenset({"FP16", "BF16"})

MOST_EXAMPLE_ELEMENTS = 1024
"""A page does not show examples of more elements than this: they are left out."""


def infer_request_schema(signature: Signature) -> dict[str, Any]:
    """Of the body of an infer request, all in JSON."""
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "description": "comes back with the answer"},
            "parameters": {"type": "object"},
            "inputs": _tensors_schema([_tensor_schema(spec) for spec in signature.inputs]),
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


def infer_request_example(signature: Signature) -> dict[str, Any] | None:
    """None for a model that cannot be asked in JSON alone."""
    if any(spec.datatype in _ONLY_BINARY for spec in (*signature.inputs, *signature.outputs)):
        return None
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
            "outputs": _tensors_schema([_output_schema(spec) for spec in signature.outputs]),
        },
    }


def _tensors_schema(tensors: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "array", "items": tensors[0] if len(tensors) == 1 else {"oneOf": list(tensors)}}


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


def _output_schema(spec: TensorSpec) -> dict[str, Any]:
    """The same for an output, which may also come as its best classes."""
    schema = _tensor_schema(spec)
    size = {"type": "integer", "minimum": 0}
    datatypes = [spec.datatype, *(["BYTES"] if spec.datatype != "BYTES" else [])]
    classified = {
        "shape": {"type": "array", "items": size},
        "datatype": {"type": "string", "enum": datatypes},
    }
    return {**schema, "properties": {**schema["properties"], **classified}}


def _tensor_example(spec: TensorSpec) -> dict[str, Any]:
    shape = example_shape(spec.shape)
    tensor: dict[str, Any] = {"name": spec.name, "shape": list(shape), "datatype": spec.datatype}
    if prod(shape) <= MOST_EXAMPLE_ELEMENTS:
        tensor["data"] = [ELEMENTS[spec.datatype][1]] * prod(shape)
    return tensor


def example_shape(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(1 if size == VARIABLE else size for size in shape)
