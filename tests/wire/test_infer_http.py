"""Infer over HTTP, both ways, against the encoders and decoders of the public clients."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import np_to_triton_dtype

from runtimes.tensors import DATATYPES, Array, TensorSpec, datatype_of
from server.domain.errors import InferenceFailed, InvalidRequest
from server.domain.request import FOREVER, InferRequest, InferResponse
from server.domain.signature import Signature
from server.wire.form import AS_BYTES, AS_JSON, ReplyForm
from server.wire.infer_http import decode, encode, header_length_of
from tests.wire.models import HOUSE, IMAGES, TINY
from tests.wire.strategies import JSON_DATATYPES, same, tensors


def ask(document: dict[str, Any], signature: Signature = TINY) -> tuple[InferRequest, ReplyForm]:
    return decode(orjson.dumps(document), None, signature, now=100.0)


def tiny_input(**changes: Any) -> dict[str, Any]:
    return {"name": "INPUT", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4], **changes}


def answer(form: ReplyForm, outputs: dict[str, Array], **rest: Any) -> tuple[int | None, bytes]:
    length, chunks = encode(InferResponse("tiny", "1", outputs, **rest), form)
    return length, b"".join(chunks)


@given(tensors(sorted(DATATYPES)), st.booleans())
def test_tritons_client_is_understood_in_every_datatype(array: Array, binary: bool):
    sent = triton.InferInput("X", list(array.shape), np_to_triton_dtype(array.dtype))
    if not binary:
        if datatype_of(array) not in JSON_DATATYPES:
            return
        if array.dtype.hasobject and not all(is_text(element) for element in array.reshape(-1)):
            return
    sent.set_data_from_numpy(array, binary_data=binary)
    body, length = triton.InferenceServerClient.generate_request_body([sent], request_id="7")
    request, form = decode(bytes(body), length, TINY, now=0)
    assert same(request.inputs["X"], array)
    assert request.id == "7"
    assert form == AS_BYTES  # the client's default


def is_text(element: bytes) -> bool:
    try:
        element.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(tensors(sorted(DATATYPES)))
def test_tritons_client_reads_binary_answers_in_every_datatype(array: Array):
    length, body = answer(AS_BYTES, {"Y": array})
    read = triton.InferenceServerClient.parse_response_body(body, header_length=length).as_numpy("Y")
    assert same(read, array)


@given(tensors(JSON_DATATYPES, text_only=True))
def test_what_is_written_as_json_is_read_from_json(array: Array):
    _, body = answer(AS_JSON, {"Y": array})
    request, _ = decode(body.replace(b'"outputs"', b'"inputs"'), None, TINY, now=0)
    assert same(request.inputs["Y"], array)


@given(st.lists(tensors(JSON_DATATYPES, text_only=True), min_size=1, max_size=4), st.data())
def test_answers_may_mix_json_and_bytes(arrays: list[Array], data: st.DataObject):
    outputs = {f"Y{index}": array for index, array in enumerate(arrays)}
    chosen = {name: data.draw(st.booleans()) for name in outputs}
    length, body = answer(ReplyForm(False, chosen), outputs, id="x", parameters={"seen": 1})
    assert (length is not None) == any(chosen.values())
    head = json.loads(body[:length])
    assert (head["id"], head["model_name"], head["model_version"]) == ("x", "tiny", "1")
    assert head["parameters"] == {"seen": 1}
    assert [output["name"] for output in head["outputs"]] == list(outputs)
    result = triton.InferenceServerClient.parse_response_body(body, header_length=length)
    for name, array in outputs.items():
        if chosen[name] or not array.dtype.hasobject:  # the client leaves JSON strings as strings
            assert same(result.as_numpy(name), array)


def test_json_and_binary_inputs_may_be_mixed():
    numbers = np.arange(4, dtype=np.int32)
    head = orjson.dumps(
        {
            "inputs": [
                {"name": "a", "shape": [2], "datatype": "INT32", "parameters": {"binary_data_size": 8}},
                {"name": "b", "shape": [1], "datatype": "BYTES", "data": ["hé"]},
                {"name": "c", "shape": [2], "datatype": "INT32", "parameters": {"binary_data_size": 8}},
            ]
        }
    )
    request, form = decode(head + numbers.tobytes(), len(head), TINY, now=0)
    assert {name: array.tolist() for name, array in request.inputs.items()} == {
        "a": [0, 1],
        "b": ["hé".encode()],
        "c": [2, 3],
    }
    assert form == AS_JSON


def test_data_may_be_nested_or_flat():
    nested, _ = ask({"inputs": [tiny_input(shape=[2, 2], data=[[1, 2], [3, 4.5]])]})
    flat, _ = ask({"inputs": [tiny_input(shape=[2, 2], data=[1, 2, 3, 4.5])]})
    assert same(nested.inputs["INPUT"], flat.inputs["INPUT"])


def test_bytes_elements_may_be_base64_where_they_are_no_text():
    tensor = {"name": "FILE", "shape": [2], "datatype": "BYTES", "data": [{"b64": "/wA="}, "plain"]}
    request, _ = ask({"inputs": [tensor]}, IMAGES)
    assert request.inputs["FILE"].tolist() == [b"\xff\0", b"plain"]


def test_the_id_comes_back_only_if_it_was_sent():
    _, body = answer(AS_JSON, {"Y": np.zeros(1, np.float32)})
    assert "id" not in json.loads(body)


def test_unknown_keys_are_ignored():
    request, _ = ask(
        {"model_name": "x", "inputs": [tiny_input(extra=1, parameters={"note": "x"})], "more": {}}
    )
    assert request.inputs["INPUT"].shape == (1, 4)


def test_parameters_are_the_servers_or_the_models():
    request, _ = ask(
        {
            "inputs": [tiny_input()],
            "parameters": {
                "timeout": 250_000,
                "priority": 2,
                "sequence_id": 9,
                "temperature": 0.5,
                "fast": True,
            },
        }
    )
    assert request.deadline == 100.25
    assert request.priority == 2
    assert request.parameters == {"sequence_id": 9, "temperature": 0.5, "fast": True}
    assert request.arrived == 100.0


def test_a_timeout_of_zero_is_none():
    request, _ = ask({"inputs": [tiny_input()], "parameters": {"timeout": 0}})
    assert request.deadline == FOREVER


def test_an_output_may_be_wanted_otherwise_than_the_rest():
    request, form = ask(
        {
            "inputs": [tiny_input()],
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "b"}, {"name": "a", "parameters": {"binary_data": False}}],
        }
    )
    assert request.outputs == ("b", "a")
    assert form == ReplyForm(binary=True, chosen={"b": True, "a": False})


def test_an_empty_list_of_outputs_means_all():
    assert ask({"inputs": [tiny_input()], "outputs": []})[0].outputs == ()


def test_classes_are_written_as_the_public_client_expects():
    sent = triton.InferRequestedOutput("OUTPUT", binary_data=True, class_count=2)
    values = triton.InferInput("INPUT", [1, 4], "FP32")
    values.set_data_from_numpy(np.zeros((1, 4), np.float32))
    body, length = triton.InferenceServerClient.generate_request_body([values], outputs=[sent])
    request, form = decode(bytes(body), length, TINY, now=0)
    response = InferResponse("tiny", "1", {"OUTPUT": np.array([[0.1, 0.9, 0.4]], np.float32)})
    size, chunks = encode(response, form, {"OUTPUT": ("cat", "dog")})
    read = triton.InferenceServerClient.parse_response_body(b"".join(chunks), header_length=size)
    assert request.outputs == ("OUTPUT",)
    assert read.as_numpy("OUTPUT").tolist() == [[b"0.900000:1:dog", b"0.400000:2"]]


def test_a_raw_request_is_the_tensor_of_a_model_with_one_input():
    request, form = decode(np.arange(4, dtype=np.float32).tobytes(), 0, TINY, now=0)
    assert request.inputs["INPUT"].tolist() == [[0, 1, 2, 3]]
    assert form == AS_BYTES


def test_a_raw_request_of_bytes_is_one_element_without_a_length():
    request, _ = decode(b"\x89PNG", 0, IMAGES, now=0)
    assert request.inputs["FILE"].tolist() == [[b"\x89PNG"]]


def test_a_raw_request_fills_in_one_variable_dimension():
    signature = Signature("m", [TensorSpec("X", "INT16", (-1, -1, 2))], [], max_batch_size=4)
    request, _ = decode(bytes(12), 0, signature, now=0)
    assert request.inputs["X"].shape == (1, 3, 2)


@pytest.mark.parametrize(
    ("body", "signature", "says"),
    [
        (bytes(15), TINY, "Expected 16, got 15"),
        (b"x", HOUSE, "needs a model with one input"),
        (b"x", Signature("m", [TensorSpec("X", "FP32", (-1, -1))], [], 0), "one variable dimension"),
        (b"x", Signature("m", [TensorSpec("X", "BYTES", (2,))], [], 0), "one element"),
        (b"x", Signature("m", [TensorSpec("X", "FP32", (-1, 0))], [], 0), "Expected 0, got 1"),
    ],
)
def test_a_raw_request_that_does_not_fit_is_refused(body: bytes, signature: Signature, says: str):
    with pytest.raises(InvalidRequest, match=says):
        decode(body, 0, signature, now=0)


def test_an_output_that_is_no_text_must_be_asked_for_as_bytes():
    with pytest.raises(InvalidRequest, match=r"'Y'.*not UTF-8.*binary_data"):
        answer(AS_JSON, {"Y": np.array([b"\xff"], dtype=object)})


def test_an_output_of_half_floats_must_be_asked_for_as_bytes():
    with pytest.raises(InvalidRequest, match=r"'Y' is FP16.*binary_data"):
        answer(AS_JSON, {"Y": np.zeros(1, np.float16)})


def test_an_output_that_the_protocol_has_no_datatype_for_is_the_models_fault():
    with pytest.raises(InferenceFailed, match=r"'Y'.*complex128"):
        answer(AS_BYTES, {"Y": np.zeros(1, np.complex128)})


def test_answers_of_many_shapes_each_say_their_own():
    for rows in (1, 2, 1, 3):
        length, body = answer(AS_BYTES, {"Y": np.zeros((rows, 2), np.float32)})
        assert json.loads(body[:length])["outputs"][0]["shape"] == [rows, 2]


@pytest.mark.parametrize("header", [b"-1", b"+5", b"1e3", b"", b" 5", b"9" * 30, "٣", b"5, 5"])
def test_a_header_length_that_is_no_number_is_refused(header: bytes | str):
    with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length"):
        header_length_of(header)


def test_a_header_length_is_read_as_text_or_bytes():
    assert (header_length_of(None), header_length_of(b"12"), header_length_of("0")) == (None, 12, 0)
