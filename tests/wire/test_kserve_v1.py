"""KServe's V1: instances in, predictions out, one of each for a row."""

import json
from typing import Any

import numpy as np
import orjson
import pytest

from server.domain.errors import InvalidRequest
from server.domain.request import InferResponse
from server.domain.signature import Signature
from server.wire import kserve_v1
from tests.wire.models import HOUSE, IMAGES, TINY, WHOLE

FLAT = {"rooms": 3, "area": 70.5, "town": "Ulm"}


def inputs(document: Any, signature: Signature) -> dict[str, Any]:
    request = kserve_v1.decode(orjson.dumps(document), signature, now=5.0)
    signature.rows(request.inputs)
    return {name: array.tolist() for name, array in request.inputs.items()}


@pytest.mark.parametrize("name", ["instances", "inputs"])
def test_an_instance_is_a_row(name: str):
    assert inputs({name: [[1, 2, 3, 4], [5, 6, 7, 8]]}, TINY) == {"INPUT": [[1, 2, 3, 4], [5, 6, 7, 8]]}


@pytest.mark.parametrize(
    ("instances", "signature", "rows"),
    [
        ([{"INPUT": [1, 2, 3, 4]}], TINY, {"INPUT": [[1, 2, 3, 4]]}),
        ([FLAT, FLAT], HOUSE, {"rooms": [[3], [3]], "area": [[70.5], [70.5]], "town": [[b"Ulm"], [b"Ulm"]]}),
        (["a", {"b64": "AP8="}], IMAGES, {"FILE": [[b"a"], [b"\0\xff"]]}),
        ([[[1, 2], [3, 4]]], WHOLE, {"X": [[1, 2], [3, 4]]}),
        ([{"X": [1, 2, 3, 4]}], WHOLE, {"X": [[1, 2], [3, 4]]}),
    ],
)
def test_an_instance_is_an_object_or_the_value_of_the_one_input(
    instances: list[Any], signature: Signature, rows: dict[str, Any]
):
    assert inputs({"instances": instances}, signature) == rows


def test_what_else_a_client_says_is_left_alone():
    assert inputs({"instances": [[1, 2, 3, 4]], "signature_name": "serving_default"}, TINY)


@pytest.mark.parametrize(
    ("document", "signature", "says"),
    [
        ([], TINY, "must be a JSON object, but is a list"),
        ({}, TINY, "the request has no 'instances'"),
        ({"instances": 5}, TINY, 'Expected "instances" to be a list, but it is a whole number'),
        ({"inputs": {"INPUT": [[1, 2, 3, 4]]}}, TINY, 'Expected "inputs" to be a list, but it is an object'),
        ({"instances": []}, TINY, "is empty"),
        ({"instances": [[1, 2, 3, 4], [1]]}, TINY, "row 1: field 'INPUT' of model 'tiny' must be a list"),
        ({"instances": [5]}, HOUSE, "row 0: model 'house' takes an object"),
        ({"instances": [[1, 2, 3, 4]] * 2}, WHOLE, "it takes one instance at a time, but got 2"),
    ],
)
def test_a_wrong_request_is_refused_by_row_and_field(document: Any, signature: Signature, says: str):
    with pytest.raises(InvalidRequest, match=says):
        inputs(document, signature)


def predictions(outputs: dict[str, Any], batched: bool = True) -> Any:
    told = json.loads(kserve_v1.encode(InferResponse("m", "1", outputs), batched))
    assert told.keys() == {"predictions"}
    return told["predictions"]


def test_one_output_is_answered_by_values():
    assert predictions({"digit": np.array([[7], [8]])}) == [7, 8]
    assert predictions({"odds": np.array([[0.5, 0.5]])}) == [[0.5, 0.5]]


def test_several_outputs_are_answered_by_objects():
    outputs = {"digit": np.array([[7], [8]]), "name": np.array([[b"seven"], [b"eight"]], dtype=object)}
    assert predictions(outputs) == [{"digit": 7, "name": "seven"}, {"digit": 8, "name": "eight"}]


def test_a_model_without_a_batch_dimension_answers_with_a_list_of_one():
    assert predictions({"Y": np.array([1, 2])}, batched=False) == [[1, 2]]
