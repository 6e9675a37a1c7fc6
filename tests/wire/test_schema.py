"""Schemas and examples: each example is a good request, and fits its schema."""

from typing import Any

import orjson
import pytest

from runtimes.tensors import TensorSpec
from server.domain.signature import Signature
from server.wire import infer_http, schema
from tests.wire.models import HOUSE, IMAGES, TINY, WHOLE

MODELS = pytest.mark.parametrize(
    "signature", [TINY, IMAGES, HOUSE, WHOLE], ids=lambda signature: signature.model
)


def fits(value: Any, wanted: dict[str, Any]) -> bool:
    """As much of OpenAPI's schemas as ours use."""
    if "oneOf" in wanted:
        return sum(fits(value, one) for one in wanted["oneOf"]) == 1
    if "enum" in wanted:
        return value in wanted["enum"]
    if not wanted:
        return True
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
    }
    if not isinstance(value, kinds[wanted["type"]]):
        return False
    if wanted["type"] == "array":
        return wanted.get("minItems", 0) <= len(value) <= wanted.get("maxItems", len(value)) and all(
            fits(item, wanted["items"]) for item in value
        )
    if wanted["type"] != "object":
        return True
    known = wanted.get("properties", {})
    return (
        set(wanted.get("required", ())) <= value.keys()
        and (wanted.get("additionalProperties", True) or value.keys() <= known.keys())
        and all(fits(item, known[key]) for key, item in value.items() if key in known)
    )


@MODELS
def test_the_example_of_an_infer_request_is_a_good_one(signature: Signature):
    example = schema.infer_request_example(signature)
    assert fits(example, schema.infer_request_schema(signature))
    request, _ = infer_http.decode(orjson.dumps(example), None, signature, now=0)
    assert signature.rows(request.inputs) == 1


def test_a_model_that_json_cannot_carry_has_no_example():
    half, whole = TensorSpec("X", "FP16", (-1, 2)), TensorSpec("X", "FP32", (-1, 2))
    for inputs, outputs in (([half], [whole]), ([whole], [half])):
        assert schema.infer_request_example(Signature("half", inputs, outputs, max_batch_size=1)) is None


def test_an_output_may_come_as_its_classes():
    answer = schema.infer_response_schema(TINY)
    tensor = {"name": "OUTPUT", "datatype": "FP32", "shape": [1, 3], "data": [0.5, 0.25, 0.25]}
    classes = {"name": "OUTPUT", "datatype": "BYTES", "shape": [1, 1], "data": ["0.500000:0"]}
    for output in (tensor, classes):
        assert fits({"model_name": "tiny", "model_version": "1", "outputs": [output]}, answer)


def test_a_large_input_is_not_written_out():
    signature = Signature("large", [TensorSpec("X", "FP32", (-1, 3, 224, 224))], [], max_batch_size=1)
    assert len(orjson.dumps(schema.infer_request_example(signature))) < 200
