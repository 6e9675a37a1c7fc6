"""Inference for people: objects and files in, plain JSON out."""

import json
from typing import Any

import ml_dtypes
import numpy as np
import orjson
import pytest

from runtimes.tensors import TensorSpec
from server.domain.errors import InvalidRequest
from server.domain.request import InferRequest, InferResponse
from server.domain.signature import Signature
from server.wire import plain
from tests.wire.models import HOUSE, IMAGES, TINY, WHOLE

FLAT = {"rooms": 3, "area": 70.5, "town": "Ulm"}


def ask(document: Any, signature: Signature) -> tuple[InferRequest, bool]:
    request, many = plain.decode(orjson.dumps(document), signature, now=5.0)
    signature.rows(request.inputs)
    return request, many


def inputs(document: Any, signature: Signature) -> dict[str, Any]:
    return {name: array.tolist() for name, array in ask(document, signature)[0].inputs.items()}


def test_an_object_is_one_row():
    request, many = ask(FLAT, HOUSE)
    assert {name: array.tolist() for name, array in request.inputs.items()} == {
        "rooms": [[3]],
        "area": [[70.5]],
        "town": [[b"Ulm"]],
    }
    assert (many, request.model, request.arrived) == (False, "house", 5.0)


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"instances": rows}])
def test_a_list_of_objects_is_several_rows(wrap: Any):
    request, many = ask(wrap([FLAT, {"rooms": 1, "area": 30, "town": "Bonn"}]), HOUSE)
    assert request.inputs["rooms"].tolist() == [[3], [1]]
    assert many


def test_parameters_stand_beside_the_instances():
    beside = {"parameters": {"unit": "cm", "priority": 2, "timeout": 3_000_000}}
    request, _ = ask({"instances": [FLAT], **beside}, HOUSE)
    assert request.parameters == {"unit": "cm"}
    assert (request.priority, request.deadline) == (2, 8.0)
    with pytest.raises(InvalidRequest, match="'parameters' of the request"):
        ask({"instances": [FLAT], "parameters": 5}, HOUSE)


def test_a_field_may_be_left_out_where_the_model_says_so():
    assert "town" not in inputs({"rooms": 3, "area": 70}, HOUSE)


@pytest.mark.parametrize(
    ("document", "rows", "many"),
    [
        ([1, 2, 3, 4], [[1, 2, 3, 4]], False),
        ({"INPUT": [1, 2, 3, 4]}, [[1, 2, 3, 4]], False),
        ([[1, 2, 3, 4]], [[1, 2, 3, 4]], True),
        ([[1, 2, 3, 4], [5, 6, 7, 8]], [[1, 2, 3, 4], [5, 6, 7, 8]], True),
        ({"instances": [[1, 2, 3, 4]]}, [[1, 2, 3, 4]], True),
        ([{"INPUT": [1, 2, 3, 4]}], [[1, 2, 3, 4]], True),
    ],
)
def test_a_model_with_one_input_takes_its_bare_value(document: Any, rows: list[Any], many: bool):
    request, is_many = ask(document, TINY)
    assert request.inputs["INPUT"].tolist() == rows
    assert is_many == many


def test_a_single_text_or_base64_is_a_value_of_a_model_of_bytes():
    assert inputs("hello", IMAGES) == {"FILE": [[b"hello"]]}
    assert inputs({"b64": "AP8="}, IMAGES) == {"FILE": [[b"\0\xff"]]}
    assert inputs([["a"], ["b"]], IMAGES) == {"FILE": [[b"a"], [b"b"]]}


def test_a_model_without_a_batch_dimension_takes_its_whole_value():
    assert inputs([[1, 2], [3, 4]], WHOLE) == {"X": [[1, 2], [3, 4]]}
    assert inputs({"X": [1, 2, 3, 4]}, WHOLE) == {"X": [[1, 2], [3, 4]]}


@pytest.mark.parametrize(
    ("document", "signature", "says"),
    [
        ({"rooms": 3}, HOUSE, "field 'area' is missing; model 'house' takes 'rooms', 'area', 'town'"),
        ({**FLAT, "color": 1}, HOUSE, "'color' is no field of model 'house'"),
        (
            {**FLAT, "rooms": 2.5},
            HOUSE,
            "field 'rooms' of model 'house' is INT32, but element 0 .* a float: 2.5",
        ),
        ({**FLAT, "rooms": "3"}, HOUSE, "a string"),
        ({**FLAT, "rooms": None}, HOUSE, "null"),
        ({**FLAT, "rooms": [1, 2]}, HOUSE, "must be a single value, but is of shape .2."),
        ({**FLAT, "area": {}}, HOUSE, "an object"),
        ([FLAT, {"rooms": 1}], HOUSE, "row 1: field 'area' is missing"),
        ([FLAT, {"rooms": 1, "area": 2}], HOUSE, "row 1: its fields are not those of row 0"),
        ([FLAT, 5], HOUSE, "takes an object with 'rooms', 'area', 'town'"),
        ({"instances": [5]}, HOUSE, "row 0: model 'house' takes an object"),
        ({"instances": []}, HOUSE, "empty"),
        (5, HOUSE, "takes an object .* but got a whole number"),
        ([], HOUSE, "takes an object"),
        ([1, 2, 3], TINY, r"must be a list of shape \[4\], but is of shape \[3\]"),
        (7, TINY, r"must be a list of shape \[4\], but is a whole number"),
        ([[1, 2, 3, 4], [1, 2]], TINY, "row 1: field 'INPUT'"),
        ([[1, 2], [3]], WHOLE, "unexpected number of elements"),
        ([[[1, 2], [3, 4]]], WHOLE, "takes one object at a time"),
    ],
)
def test_a_wrong_object_is_refused_by_row_and_field(document: Any, signature: Signature, says: str):
    with pytest.raises(InvalidRequest, match=says):
        ask(document, signature)


def test_rows_of_different_shapes_are_refused():
    signature = Signature("m", [TensorSpec("X", "FP32", (-1, -1))], [], max_batch_size=4)
    with pytest.raises(InvalidRequest, match=r"row 1: field 'X' has shape .1., but in row 0 it has .2."):
        ask([[1, 2], [1]], signature)


def test_a_file_is_the_one_element_of_a_model_of_bytes():
    request = plain.decode_file(b"\x89PNG", IMAGES, now=0)
    assert request.inputs["FILE"].tolist() == [[b"\x89PNG"]]
    assert IMAGES.rows(request.inputs) == 1


def test_a_file_is_refused_by_any_other_model():
    with pytest.raises(InvalidRequest, match=r"one BYTES input .* 'tiny' takes 'INPUT' \(FP32 \[-1,4\]\)"):
        plain.decode_file(b"x", TINY, now=0)


def answer(outputs: dict[str, Any], many: bool = False, batched: bool = True) -> Any:
    return json.loads(plain.encode(InferResponse("m", "1", outputs), many, batched))


def test_one_row_is_answered_by_one_object():
    outputs = {
        "digit": np.array([[7]]),
        "odds": np.array([[0.1, 0.9]], np.float32),
        "name": np.array([b"seven"], dtype=object),
        "sure": np.array([True]),
    }
    assert answer(outputs) == {"digit": 7, "odds": [0.1, 0.9], "name": "seven", "sure": True}


def test_a_list_is_answered_by_a_list():
    outputs = {"digit": np.array([[7], [8]]), "box": np.zeros((2, 1, 2), np.int8)}
    assert answer(outputs, many=True) == [{"digit": 7, "box": [[0, 0]]}, {"digit": 8, "box": [[0, 0]]}]
    assert answer({"digit": np.array([[7]])}, many=True) == [{"digit": 7}]


def test_outputs_without_a_batch_dimension_are_one_object():
    assert answer({"Y": np.array([1, 2]), "n": np.array(3)}, batched=False) == {"Y": [1, 2], "n": 3}


def test_what_json_has_no_word_for_is_still_answered():
    outputs = {
        "half": np.array([[1.5]], np.float16),
        "brain": np.array([[1.5]], ml_dtypes.bfloat16),
        "blob": np.array([[b"\xff"]], dtype=object),
        "words": np.array([[b"a", b"b"]], dtype=object),
        "nothing": np.array([[np.nan]], np.float32),
        "gaps": np.arange(4).reshape(2, 2)[:, ::2][:1],
    }
    assert answer(outputs) == {
        "half": 1.5,
        "brain": 1.5,
        "blob": {"b64": "/w=="},
        "words": ["a", "b"],
        "nothing": None,
        "gaps": 0,
    }


def test_integers_of_every_c_type_are_written():
    answer = InferResponse("m", "1", {"label": np.array([[7]], np.longlong)})
    assert plain.encode(answer, False, batched=True) == b'{"label":7}'
