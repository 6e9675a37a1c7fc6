"""Schemas of plain JSON: examples are good requests, and requests and answers fit."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from openapi_schema_validator import OAS30Validator

from runtimes.tensors import DATATYPES, TensorSpec
from server.domain.request import InferResponse
from server.domain.signature import Signature
from server.wire import generate, kserve_v1, plain, plain_schema
from tests.wire.models import HOUSE, IMAGES, TINY, WHOLE

MODELS = pytest.mark.parametrize(
    "signature", [TINY, IMAGES, HOUSE, WHOLE], ids=lambda signature: signature.model
)
ANSWERS = {
    "tiny": {"OUTPUT": np.array([[0.5, np.nan, 1]], np.float32)},
    "images": {"CLASS": np.array([[7]])},
    "house": {"price": np.array([[np.inf]])},
    "whole": {"Y": np.array([1, 2], np.float32)},
}


def fits(value: Any, schema: dict[str, Any]) -> bool:
    return OAS30Validator(schema).is_valid(value)


def answer_of(signature: Signature) -> InferResponse:
    return InferResponse(signature.model, "1", ANSWERS[signature.model], "42")


@MODELS
def test_predict_takes_and_gives_what_its_schemas_say(signature: Signature):
    example = plain_schema.row_example(signature)
    assert fits(example, plain_schema.predict_request_schema(signature))
    request, _ = plain.decode(orjson.dumps(example), signature, now=0)
    assert signature.rows(request.inputs) == 1
    schema = plain_schema.predict_answer_schema(signature)
    assert fits(plain_schema.predict_answer_example(signature), schema)
    batched = signature.max_batch_size > 0
    for many in {False, batched}:
        assert fits(json.loads(plain.encode(answer_of(signature), many, batched)), schema)


@MODELS
def test_v1_takes_and_gives_what_its_schemas_say(signature: Signature):
    row = plain_schema.row_example(signature)
    asked = [row, *row.values()] if len(signature.inputs) == 1 else [row]
    for instance in asked:
        assert fits({"instances": [instance]}, plain_schema.v1_request_schema(signature))
        request = kserve_v1.decode(orjson.dumps({"instances": [instance]}), signature, now=0)
        assert signature.rows(request.inputs) == 1
    told = json.loads(kserve_v1.encode(answer_of(signature), signature.max_batch_size > 0))
    assert fits(told, plain_schema.v1_answer_schema(signature))


@MODELS
def test_generate_takes_and_gives_what_its_schemas_say(signature: Signature):
    example = {**plain_schema.row_example(signature), "id": "42", "heat": 0.5, "parameters": {"top_k": 1}}
    assert fits(example, plain_schema.generate_request_schema(signature))
    request = generate.decode(orjson.dumps(example), signature, now=0)
    assert signature.rows(request.inputs) == 1
    told = json.loads(generate.encode(answer_of(signature)))
    assert fits(told, plain_schema.generate_answer_schema(signature))


def test_what_is_wrong_does_not_fit():
    assert not fits({}, plain_schema.predict_request_schema(TINY))
    assert not fits({"INPUT": [1, 2, 3]}, plain_schema.predict_request_schema(TINY))
    assert not fits({"INPUT": [1, 2, 3, 4], "other": 1}, plain_schema.predict_request_schema(TINY))
    assert not fits({"instances": []}, plain_schema.v1_request_schema(TINY))
    assert not fits({"INPUT": [1, 2, 3, 4], "heat": {}}, plain_schema.generate_request_schema(TINY))


def test_a_variable_dimension_with_one_element_is_bare():
    signature = Signature("m", [], [TensorSpec("Y", "FP32", (-1, -1))], max_batch_size=4)
    schema = plain_schema.predict_answer_schema(signature)
    for row in ([[1.5]], [[1.5, 2.5]]):
        response = InferResponse("m", "1", {"Y": np.array(row, np.float32)})
        assert fits(json.loads(plain.encode(response, False, batched=True)), schema)


def test_every_datatype_has_a_schema():
    everything = [TensorSpec(name, name, (-1, 2)) for name in DATATYPES]
    signature = Signature("all", everything, everything, max_batch_size=1)
    example = plain_schema.row_example(signature)
    assert len(example) == len(DATATYPES)
    assert fits(example, plain_schema.predict_request_schema(signature))
    assert fits(example, plain_schema.predict_answer_schema(signature))
