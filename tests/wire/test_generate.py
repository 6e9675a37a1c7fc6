"""Triton's generate extension: keys that are inputs, keys that are parameters, and outputs by their names."""

import json
from typing import Any

import ml_dtypes
import numpy as np
import orjson
import pytest

from runtimes.tensors import TensorSpec
from server.domain.errors import InferenceFailed, InvalidRequest
from server.domain.request import FOREVER, InferRequest, InferResponse
from server.domain.signature import Signature
from server.wire import generate
from tests.wire.models import HOUSE, IMAGES, TINY, WHOLE


def signature(*shape: int, datatype: str = "FP32", name: str = "X", batches: bool = True) -> Signature:
    return Signature("m", [TensorSpec(name, datatype, shape)], [], max_batch_size=8 if batches else 0)


def ask(document: Any, of: Signature) -> InferRequest:
    return generate.decode(orjson.dumps(document), of, version="2", now=5.0)


@pytest.mark.parametrize(
    ("value", "shape", "came_as"),
    [
        ("hello", (-1, 1), (1, 1)),
        (["a", "b"], (-1, 1), (2, 1)),
        ([["a"], ["b"]], (-1, 1), (2, 1)),
        (["a", "b"], (-1, -1), (1, 2)),
        ([["a", "b"]], (-1, -1), (1, 2)),
        ([["a"], ["b"]], (-1, -1), (2, 1)),
        ("a", (-1, -1, -1), (1, 1, 1)),
        (["a", "b", "c", "d"], (-1, 2), (2, 2)),
        (["a", "b", "c", "d"], (-1, 2, -1), (1, 2, 2)),
        ([["a", "b"]], (-1, -1, 2), (1, 1, 2)),
        ([], (-1, 4), (0, 4)),
    ],
)
def test_elements_are_dealt_out_over_the_dimensions_of_the_input(
    value: Any, shape: tuple[int, ...], came_as: tuple[int, ...]
):
    assert ask({"X": value}, signature(*shape, datatype="BYTES")).inputs["X"].shape == came_as


@pytest.mark.parametrize(
    ("value", "of"),
    [
        ([1, 2, 3], signature(-1, 2)),
        ([1, 2, 3], signature(2, 2, batches=False)),
        ([1] * 8, signature(2, 2, batches=False)),
        (1, signature(2, 2, batches=False)),
    ],
)
def test_elements_that_fill_no_such_shape_are_refused_in_tritons_words(value: Any, of: Signature):
    with pytest.raises(InvalidRequest, match="can not convert input 'X' to tensor with proper shape"):
        ask({"X": value}, of)


def test_other_keys_are_parameters_and_those_of_parameters_too():
    request = ask({"INPUT": [1, 2, 3, 4], "top_k": 3, "parameters": {"stream": False, "heat": 0.5}}, TINY)
    assert request.parameters == {"top_k": 3, "stream": False, "heat": 0.5}
    assert request.inputs["INPUT"].tolist() == [[1, 2, 3, 4]]
    assert (request.model, request.version, request.arrived) == ("tiny", "2", 5.0)


def test_an_input_may_be_among_the_parameters():
    request = ask({"rooms": 3, "parameters": {"area": 70, "heat": 1}}, HOUSE)
    assert {name: array.tolist() for name, array in request.inputs.items()} == {
        "rooms": [[3]],
        "area": [[70.0]],
    }
    assert request.parameters == {"heat": 1}


def test_an_input_that_is_named_as_a_word_of_the_protocol_is_an_input():
    for name in ("id", "parameters"):
        request = ask({name: 1, "other": 2}, signature(-1, 1, name=name))
        assert request.inputs[name].tolist() == [[1]]
        assert request.id == ""


def test_the_request_id_and_the_deadline_are_the_servers():
    request = ask({"INPUT": [1, 2, 3, 4], "id": "42", "timeout": 1_000_000, "priority": 1}, TINY)
    assert (request.id, request.deadline, request.priority, dict(request.parameters)) == ("42", 6.0, 1, {})
    assert ask({"INPUT": [1, 2, 3, 4]}, TINY).deadline == FOREVER


def test_bytes_that_are_no_text_come_in_base64():
    assert ask({"FILE": {"b64": "AP8="}}, IMAGES).inputs["FILE"].tolist() == [[b"\0\xff"]]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "must be a JSON object, but is a list"),
        (
            {"INPUT": ["a", "b", "c", "d"]},
            "input 'INPUT' for model 'tiny' is FP32, but element 0 of its data is a string",
        ),
        ({"INPUT": None}, "proper shape"),
        ({"INPUT": [1, [2], 3, 4]}, "element 1 of its data is a list"),
        ({"id": 42}, "'id' must be a string, but is a whole number"),
        ({"parameters": 1}, "'parameters' of the request must be an object"),
        ({"heat": {"of": 1}}, "parameter 'heat' must be a string, a number or a bool, but is an object"),
        ({"parameters": {"heat": [1]}}, "parameter 'heat' must be a string"),
        ({"triton_x": 1}, "'triton_x' is reserved"),
        ({"INPUT": [1, 2, 3, 4], "parameters": {"INPUT": [1, 2, 3, 4]}}, "'INPUT' already exists in request"),
        ({"heat": 1, "parameters": {"heat": 2}}, "'heat' already exists in request"),
    ],
)
def test_a_wrong_object_is_refused_by_its_key(document: Any, says: str):
    with pytest.raises(InvalidRequest, match=says):
        ask(document, TINY)


def test_an_empty_body_is_an_empty_object():
    assert generate.decode(b"", TINY, now=0).inputs == {}


def test_a_model_without_a_batch_dimension_takes_its_whole_value():
    for value in ([[1, 2], [3, 4]], [1, 2, 3, 4]):
        assert ask({"X": value}, WHOLE).inputs["X"].tolist() == [[1, 2], [3, 4]]


def answer(outputs: dict[str, Any], id: str = "") -> Any:
    return json.loads(generate.encode(InferResponse("m", "3", outputs, id)))


def test_one_element_is_bare_and_several_are_a_flat_list():
    outputs = {
        "text_output": np.array([[b"hello"]], dtype=object),
        "words": np.array([[b"a", b"b"]], dtype=object),
        "odds": np.array([[0.1, 0.9]], np.float32),
        "box": np.arange(4).reshape(1, 2, 2),
        "sure": np.array([[True]]),
        "none": np.zeros((1, 0), np.int8),
    }
    assert answer(outputs, "42") == {
        "id": "42",
        "model_name": "m",
        "model_version": "3",
        "text_output": "hello",
        "words": ["a", "b"],
        "odds": [0.1, 0.9],
        "box": [0, 1, 2, 3],
        "sure": True,
        "none": [],
    }


def test_without_an_id_none_comes_back():
    assert answer({}) == {"model_name": "m", "model_version": "3"}


def test_every_kind_of_number_and_byte_is_written():
    outputs = {
        "half": np.array([1.5], np.float16),
        "brain": np.array([1.5], ml_dtypes.bfloat16),
        "blob": np.array([b"\xff"], dtype=object),
    }
    assert answer(outputs) == {
        "model_name": "m",
        "model_version": "3",
        "half": 1.5,
        "brain": 1.5,
        "blob": {"b64": "/w=="},
    }


def test_what_is_not_finite_is_written_as_triton_writes_it():
    text = generate.encode(InferResponse("m", "3", {"y": np.array([np.nan, np.inf, -np.inf], np.float32)}))
    assert text.endswith(b'"y":[NaN,Infinity,-Infinity]}')


def test_an_output_that_is_named_as_a_word_of_the_protocol_does_not_replace_it():
    assert answer({"model_name": np.array([7])})["model_name"] == "m"


def test_an_output_that_the_protocol_has_no_datatype_for_is_the_models_fault():
    with pytest.raises(InferenceFailed, match="'y' has elements of complex128"):
        answer({"y": np.array([1j])})


def test_an_event_is_one_line_of_data():
    assert generate.event(b"{}") == b"data: {}\n\n"
