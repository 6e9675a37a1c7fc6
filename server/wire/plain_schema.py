"""What a model takes and gives in plain JSON, by predict, generate and KServe's V1: schemas and examples.

The schemas keep to OpenAPI 3.0, as those of `server.wire.schema` do.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from server.domain.signature import Signature
from server.domain.tensors import VARIABLE, TensorSpec
from server.wire.schema import ELEMENTS, MOST_EXAMPLE_ELEMENTS, example_shape

Schema = dict[str, Any]

_FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
_TEXT: Schema = {"type": "string"}


def predict_request_schema(signature: Signature) -> Schema:
    """An object, or a list of them where the model has rows."""
    return _one_or_many(_row_request(signature), signature)


def row_example(signature: Signature) -> dict[str, Any]:
    """The object that asks for one row."""
    return {
        spec.name: _value_example(spec, signature)
        for spec in signature.inputs
        if spec.name not in signature.optional
    }


def predict_answer_schema(signature: Signature) -> Schema:
    """A list for a list."""
    return _one_or_many(_row_answer(signature), signature)


def predict_answer_example(signature: Signature) -> dict[str, Any]:
    return {spec.name: _value_example(spec, signature) for spec in signature.outputs}


def v1_request_schema(signature: Signature) -> Schema:
    """Rows as objects, or as bare values where there is one input."""
    row = _row_request(signature)
    if len(signature.inputs) == 1:
        row = {"anyOf": [row, _value(signature.inputs[0], signature)]}
    return {
        "type": "object",
        "required": ["instances"],
        "properties": {"instances": {"type": "array", "items": row, "minItems": 1}},
    }


def v1_answer_schema(signature: Signature) -> Schema:
    """Rows as bare values where there is one output, else as objects."""
    outputs = signature.outputs
    row = _answered(outputs[0], signature) if len(outputs) == 1 else _row_answer(signature)
    return {
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": {"type": "array", "items": row}},
    }


def generate_request_schema(signature: Signature) -> Schema:
    """Inputs by their names, and beside them what are parameters."""
    inputs = {spec.name: _element_or_list(spec, {}) for spec in signature.inputs}
    return {
        "type": "object",
        "required": _required(signature),
        "properties": {
            "id": {**_TEXT, "description": "comes back with the answer"},
            "parameters": {"type": "object", "description": "more keys, read as those beside it"},
            **inputs,
        },
        "additionalProperties": {"oneOf": [_TEXT, {"type": "number"}, {"type": "boolean"}]},
    }


def generate_answer_schema(signature: Signature) -> Schema:
    outputs = {spec.name: _element_or_list(spec, ELEMENTS[spec.datatype][0]) for spec in signature.outputs}
    known = {"id": _TEXT, "model_name": _TEXT, "model_version": _TEXT}
    return {
        "type": "object",
        "required": sorted({"model_name", "model_version", *outputs} - {"id"}),
        "properties": {**outputs, **known},
    }


def _element_or_list(spec: TensorSpec, item: Schema) -> Schema:
    element = ELEMENTS[spec.datatype][0]
    return {"oneOf": [element, {"type": "array", "items": item, "description": f"fits {list(spec.shape)}"}]}


def _required(signature: Signature) -> list[str]:
    return [spec.name for spec in signature.inputs if spec.name not in signature.optional]


def _row_request(signature: Signature) -> Schema:
    return {
        "type": "object",
        "properties": {spec.name: _value(spec, signature) for spec in signature.inputs},
        "required": _required(signature),
        "additionalProperties": False,
    }


def _row_answer(signature: Signature) -> Schema:
    return {
        "type": "object",
        "properties": {spec.name: _answered(spec, signature) for spec in signature.outputs},
        "required": [spec.name for spec in signature.outputs],
    }


def _value(spec: TensorSpec, signature: Signature) -> Schema:
    return _nested(_dims(spec, signature), ELEMENTS[spec.datatype][0])


def _answered(spec: TensorSpec, signature: Signature) -> Schema:
    """A value as it comes: null for what is not finite, and bare if a variable dimension has one element."""
    element = ELEMENTS[spec.datatype][0]
    if spec.datatype in _FLOATS:
        element = {**element, "nullable": True}
    dims = _dims(spec, signature)
    nested = _nested(dims, element)
    return {"anyOf": [element, nested]} if dims == (VARIABLE,) else nested


def _nested(dims: Sequence[int], element: Schema) -> Schema:
    schema = dict(element)
    if tuple(dims) in ((), (1,)):
        return schema
    for size in reversed(dims):
        schema = {"type": "array", "items": schema}
        if size != VARIABLE:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def _dims(spec: TensorSpec, signature: Signature) -> tuple[int, ...]:
    """The shape of one row."""
    return spec.shape[1:] if signature.max_batch_size else spec.shape


def _value_example(spec: TensorSpec, signature: Signature) -> Any:
    dims = example_shape(_dims(spec, signature))
    value = ELEMENTS[spec.datatype][1]
    if dims in ((), (1,)):
        return value
    if prod(dims) > MOST_EXAMPLE_ELEMENTS:
        return []
    for size in reversed(dims):
        value = [value] * size
    return value


def _one_or_many(one: Schema, signature: Signature) -> Schema:
    return {"oneOf": [one, {"type": "array", "items": one}]} if signature.max_batch_size else one
