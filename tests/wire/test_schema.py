"""Schemas and examples: each example is a good request, and fits its schema."""

from typing import Any

import orjson
import pytest

from runtimes.tensors import DATATYPES, TensorSpec
from server.domain.signature import Signature
from server.wire import infer_http, plain, schema
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


@MODELS
def test_the_example_of_a_plain_request_is_a_good_one(signature: Signature):
    example = schema.plain_request_example(signature)
    assert fits(example, schema.plain_request_schema(signature))
    request, _ = plain.decode(orjson.dumps(example), signature, now=0)
    assert signature.rows(request.inputs) == 1


@MODELS
def test_the_example_of_a_plain_answer_fits_its_schema(signature: Signature):
    assert fits(schema.plain_answer_example(signature), schema.plain_answer_schema(signature))


def test_a_number_that_is_not_finite_is_null_in_the_schema_of_a_plain_answer_too():
    signature = Signature("one", [], [TensorSpec("Y", "FP32", (-1, 1)), TensorSpec("N", "INT32", (-1, 1))], 1)
    one, many = schema.plain_answer_schema(signature)["oneOf"]
    assert one["properties"]["Y"] == {"type": "number", "nullable": True}
    assert "nullable" not in one["properties"]["N"]
    assert many["items"] == one


def test_every_datatype_has_a_schema():
    everything = [TensorSpec(name, name, (-1, 2)) for name in DATATYPES]
    signature = Signature("all", everything, everything, max_batch_size=1)
    assert len(schema.plain_answer_example(signature)) == len(DATATYPES)
    assert schema.infer_response_schema(signature)["properties"]["outputs"]["items"]["oneOf"]


def test_a_large_input_is_not_written_out():
    signature = Signature("large", [TensorSpec("X", "FP32", (-1, 3, 224, 224))], [], max_batch_size=1)
    assert len(orjson.dumps(schema.infer_request_example(signature))) < 200
