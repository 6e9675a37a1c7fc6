"""Bodies that are wrong: each is the caller's fault, and is told so in a sentence that says where."""

import copy
import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos import inference_pb2 as pb
from server.domain.errors import InvalidRequest, NotSupported, ServingError
from server.wire import control, golden, infer_http, infer_proto, plain
from tests.wire.models import HOUSE, IMAGES, TINY, WHOLE

GOOD: dict[str, Any] = {
    "inputs": [{"name": "INPUT", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]
}


def but(**changes: Any) -> dict[str, Any]:
    """The good request with its input changed; None takes a member away."""
    document = copy.deepcopy(GOOD)
    for key, value in changes.items():
        if value is None:
            del document["inputs"][0][key]
        else:
            document["inputs"][0][key] = value
    return document


def with_parameters(**parameters: Any) -> dict[str, Any]:
    return {**GOOD, "parameters": parameters}


def with_output(**output: Any) -> dict[str, Any]:
    return {**GOOD, "outputs": [output]}


def of(datatype: str, *data: Any) -> dict[str, Any]:
    return but(datatype=datatype, shape=[len(data)], data=list(data))


BAD_DOCUMENTS: list[tuple[Any, str]] = [
    ([], "must be a JSON object, but is a list"),
    (None, "must be a JSON object, but is null"),
    ("text", "must be a JSON object, but is a string"),
    ({}, "has no 'inputs'"),
    ({"inputs": {}}, "'inputs' must be a list, but is an object"),
    ({"inputs": "INPUT"}, "'inputs' must be a list"),
    ({"inputs": [1]}, "each input for model 'tiny' must be an object"),
    ({"inputs": [None]}, "each input for model 'tiny' must be an object"),
    (but(name=None), "has no 'name'"),
    (but(name=""), "has no 'name'"),
    (but(name=5), "has no 'name'"),
    (but(datatype=None), "'INPUT' for model 'tiny' has no 'datatype'"),
    (but(datatype="FLOAT"), "has datatype 'FLOAT', which is none of BOOL"),
    (but(datatype="fp32"), "has datatype 'fp32'"),
    (but(datatype=["FP32"]), "has datatype"),
    (but(datatype={"a": 1}), "has datatype"),
    (but(shape=None), "has no 'shape'"),
    (but(shape=4), "'shape' of input 'INPUT' for model 'tiny' must be a list"),
    (but(shape=[-1, 4]), "whole numbers from 0 on, but has -1"),
    (but(shape=[1.0, 4]), "but has 1.0"),
    (but(shape=[True, 4]), "but has True"),
    (but(shape=["1", 4]), "but has '1'"),
    (but(shape=[[1], 4]), "but has"),
    (but(shape=[2**62, 2**62]), "data has 4"),
    (but(shape=[1] * 70, data=[1]), "unexpected shape"),
    (but(shape=[0, 2**63], data=[]), "unexpected shape"),
    (but(shape=[1, 5]), "has 5, data has 4"),
    (but(shape=[]), "has 1, data has 4"),
    (but(data=None), "has no data"),
    (but(data=5), "'data' of input 'INPUT' for model 'tiny' must be a list, but is a whole number"),
    (but(data="1234"), "must be a list, but is a string"),
    (but(data={}), "must be a list, but is an object"),
    (but(data=[]), "data has 0"),
    (but(data=[1, 2, 3]), "data has 3"),
    (but(data=[[1, 2], [3]]), "data has 3"),
    (but(data=[[1, 2], 3, 4]), "has a whole number among lists"),
    (but(data=[1, 2, [3, 4]]), "data has 3"),
    (but(data=[1, 2, 3, [4]]), "element 3 of its data is a list"),
    (but(data=[1, 2, 3, "4"]), "is FP32, but element 3 of its data is a string: '4'"),
    (but(data=[1, 2, 3, True]), "element 3 of its data is a bool"),
    (but(data=[1, 2, 3, None]), "element 3 of its data is null"),
    (but(data=[1, 2, 3, {}]), "element 3 of its data is an object"),
    (but(data=[1, 2, 3, 1e39]), "too large"),
    (of("INT32", 1.0), "is INT32, but element 0 of its data is a float: 1.0"),
    (of("INT32", 1, 2.5), "element 1 of its data is a float: 2.5"),
    (of("INT32", True), "a bool"),
    (of("INT32", "7"), "a string"),
    (of("INT8", 128), "is INT8, from -128 to 127, but holds 128"),
    (of("INT8", -129), "holds -129"),
    (of("UINT8", 256), "from 0 to 255, but holds 256"),
    (of("UINT8", -1), "holds -1"),
    (of("UINT16", 65536), "holds 65536"),
    (of("INT32", 2**31), "holds 2147483648"),
    (of("INT64", 2**63), "holds 9223372036854775808"),
    (of("UINT64", -1), "holds -1"),
    (of("BOOL", 1), "is BOOL, but element 0 of its data is a whole number"),
    (of("BOOL", "true"), "a string"),
    (of("BYTES", 5), "is BYTES, but element 0 of its data is a whole number"),
    (of("BYTES", None), "element 0 of its data is null"),
    (of("BYTES", {"b64": "%%%"}), "standard base64"),
    (of("BYTES", {"b64": 5}), "standard base64"),
    (of("BYTES", {"other": "x"}), "standard base64"),
    (of("BYTES", {}), "standard base64"),
    (of("FP16", 1.0), "is FP16, which must be sent as binary data"),
    (of("BF16", 1.0), "is BF16, which must be sent as binary data"),
    (but(parameters=[]), "'parameters' of input 'INPUT' for model 'tiny' must be an object"),
    (but(parameters={"binary_data_size": 16}), "has both 'data' and 'binary_data_size'"),
    (but(data=None, parameters={"binary_data_size": 16}), "only 0 bytes of the body are left"),
    (but(data=None, parameters={"binary_data_size": -1}), "'binary_data_size'.*from 0 on"),
    (but(data=None, parameters={"binary_data_size": 1.5}), "'binary_data_size'.*from 0 on"),
    (but(data=None, parameters={"binary_data_size": "16"}), "'binary_data_size'.*from 0 on"),
    (but(data=None, parameters={"binary_data_size": True}), "'binary_data_size'.*from 0 on"),
    ({"inputs": GOOD["inputs"] * 2}, "input 'INPUT' for model 'tiny' is there more than once"),
    ({**GOOD, "id": 5}, "'id' must be a string, but is a whole number"),
    ({**GOOD, "id": None}, "'id' must be a string, but is null"),
    ({**GOOD, "parameters": []}, "'parameters' of the request must be an object"),
    (with_parameters(timeout=-1), "parameter 'timeout'.*from 0 on"),
    (with_parameters(timeout="5"), "parameter 'timeout'.*a string"),
    (with_parameters(timeout=1.5), "parameter 'timeout'.*a float"),
    (with_parameters(timeout=True), "parameter 'timeout'.*a bool"),
    (with_parameters(timeout=None), "parameter 'timeout'.*null"),
    (with_parameters(priority=-1), "parameter 'priority'"),
    (with_parameters(priority="high"), "parameter 'priority'"),
    (with_parameters(binary_data_output=1), "parameter 'binary_data_output'.*must be a bool"),
    (with_parameters(sequence_id=-4), "parameter 'sequence_id'"),
    (with_parameters(sequence_id=1.5), "parameter 'sequence_id'"),
    (with_parameters(sequence_start=1), "parameter 'sequence_start' must be a bool"),
    (with_parameters(sequence_end="yes"), "parameter 'sequence_end' must be a bool"),
    (with_parameters(triton_secret=1), "parameter 'triton_secret' is reserved"),
    (with_parameters(headers="x"), "parameter 'headers' is reserved"),
    (with_parameters(mine=[1]), "parameter 'mine' must be a string, a number or a bool, but is a list"),
    (with_parameters(mine={}), "parameter 'mine'.*an object"),
    (with_parameters(mine=None), "parameter 'mine'.*null"),
    ({**GOOD, "outputs": {}}, "'outputs' must be a list, but is an object"),
    ({**GOOD, "outputs": "OUTPUT"}, "'outputs' must be a list"),
    ({**GOOD, "outputs": ["OUTPUT"]}, "each output for model 'tiny' must be an object"),
    (with_output(), "has no 'name'"),
    (with_output(name=5), "has no 'name'"),
    (with_output(name="OUTPUT", parameters=5), "'parameters' of output 'OUTPUT'"),
    (with_output(name="OUTPUT", parameters={"binary_data": "yes"}), "'binary_data'.*must be a bool"),
    (with_output(name="OUTPUT", parameters={"classification": -1}), "'classification'"),
    (with_output(name="OUTPUT", parameters={"classification": "3"}), "'classification'"),
    ({**GOOD, "outputs": [{"name": "OUTPUT"}] * 2}, "output 'OUTPUT' is requested more than once"),
]


@pytest.mark.parametrize(("document", "says"), BAD_DOCUMENTS)
def test_a_wrong_document_is_refused(document: Any, says: str):
    with pytest.raises(InvalidRequest, match=says):
        infer_http.decode(orjson.dumps(document), None, TINY, now=0)


SHARED = {"shared_memory_region": "r", "shared_memory_byte_size": 16}


@pytest.mark.parametrize(
    "document", [but(data=None, parameters=SHARED), with_output(name="OUTPUT", parameters=SHARED)]
)
def test_shared_memory_is_not_offered(document: Any):
    with pytest.raises(NotSupported, match=r"PUT' for model 'tiny'.*shared memory"):
        infer_http.decode(orjson.dumps(document), None, TINY, now=0)


BINARY = orjson.dumps(but(data=None, parameters={"binary_data_size": 16}))
TENSOR = bytes(16)


@pytest.mark.parametrize(
    ("body", "header_length", "says"),
    [
        (b"", None, "not JSON"),
        (b"{", None, "not JSON"),
        (b"\x80", None, "not JSON"),
        (b'{"inputs": [NaN', None, "not JSON"),
        (b"\xef\xbb\xbf{}", None, "not JSON"),
        (orjson.dumps(GOOD) + b"x", None, "not JSON"),
        (BINARY + TENSOR, None, "not JSON"),
        (BINARY + TENSOR, 10_000, "is 10000, but the body has"),
        (BINARY + TENSOR, len(BINARY) - 1, "not JSON"),
        (BINARY + TENSOR, len(BINARY) + 1, "not JSON"),
        (BINARY + TENSOR[:-1], len(BINARY), "only 15 bytes of the body are left"),
        (BINARY + TENSOR + b"x", len(BINARY), "1 bytes after the last input"),
        (orjson.dumps(GOOD) + b"x", len(orjson.dumps(GOOD)), "1 bytes after the last input"),
        (b'{"inputs":' + b"[" * 3000 + b"]" * 3000 + b"}", None, "not JSON"),
        (b'{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","data":[1e999]}]}', None, "not JSON"),
        (b'{"inputs":[{"name":"X","shape":[1],"datatype":"INT32","data":[NaN]}]}', None, "a float: nan"),
    ],
)
def test_a_wrong_body_is_refused(body: bytes, header_length: int | None, says: str):
    with pytest.raises(InvalidRequest, match=says):
        infer_http.decode(body, header_length, TINY, now=0)


def refuses_gracefully(call: Any, *arguments: Any, **named: Any) -> None:
    try:
        call(*arguments, **named)
    except ServingError as error:
        assert str(error)  # noqa: PT017 - whether it raises is not the question


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SHAPES = st.lists(st.integers(0, 3) | VALUES, max_size=3) | VALUES
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["INPUT", "X", ""]) | VALUES,
        "shape": SHAPES,
        "datatype": st.sampled_from(["FP32", "BYTES", "INT8", "BOOL", "FP16", "UINT64"]) | VALUES,
        "data": st.lists(VALUES, max_size=4) | VALUES,
        "parameters": st.dictionaries(
            st.sampled_from(["binary_data_size", "classification", "binary_data", "x"]), VALUES, max_size=2
        )
        | VALUES,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=3) | VALUES},
    optional={
        "id": VALUES,
        "outputs": st.lists(TENSORS, max_size=2) | VALUES,
        "parameters": st.dictionaries(
            st.sampled_from(["timeout", "priority", "sequence_id", "triton_x", "binary_data_output", "x"]),
            VALUES,
        ),
    },
)


def text_of(document: Any) -> bytes:
    """As a Python client writes it: with bare NaN, and whole numbers of any size."""
    return json.dumps(document).encode()


@settings(max_examples=300)
@given(DOCUMENTS | VALUES, st.binary(max_size=20))
def test_no_document_makes_a_codec_fall_over(document: Any, tail: bytes):
    text = text_of(document)
    for signature in (TINY, IMAGES, HOUSE, WHOLE):
        refuses_gracefully(infer_http.decode, text, None, signature, now=0)
        refuses_gracefully(infer_http.decode, text + tail, len(text), signature, now=0)
        refuses_gracefully(plain.decode, text, signature, now=0)
    refuses_gracefully(control.decode_load, text)
    refuses_gracefully(control.decode_unload, text)
    refuses_gracefully(control.decode_index, text)
    refuses_gracefully(golden.read, text, "x")


@settings(max_examples=300)
@given(st.binary(max_size=60), st.none() | st.integers(0, 80))
def test_no_bytes_make_a_codec_fall_over(body: bytes, header_length: int | None):
    for signature in (TINY, IMAGES, HOUSE, WHOLE):
        refuses_gracefully(infer_http.decode, body, header_length, signature, now=0)
        refuses_gracefully(plain.decode, body, signature, now=0)
        refuses_gracefully(plain.decode_file, body, signature, now=0)


@st.composite
def messages(draw: st.DrawFn) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="tiny", id=draw(st.text(max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        tensor = message.inputs.add(
            name=draw(st.sampled_from(["INPUT", "X", ""])),
            datatype=draw(st.sampled_from(["FP32", "BYTES", "INT8", "BOOL", "FP16", "UINT16", "", "x"])),
            shape=draw(st.lists(st.integers(-1, 3) | st.integers(-(2**63), 2**63 - 1), max_size=3)),
        )
        tensor.contents.int_contents.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3)))
        tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=3)))
        tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=3), max_size=3)))
    message.raw_input_contents.extend(draw(st.lists(st.binary(max_size=12), max_size=3)))
    for key in draw(st.lists(st.sampled_from(["timeout", "priority", "headers", "x"]), max_size=2)):
        message.parameters[key].double_param = draw(st.floats(allow_nan=False, allow_infinity=False))
    return message


@settings(max_examples=300)
@given(messages())
def test_no_message_makes_the_codec_fall_over(message: pb.ModelInferRequest):
    refuses_gracefully(infer_proto.decode, message, TINY, now=0)


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_no_message_from_arbitrary_bytes_makes_the_codec_fall_over(wire: bytes):
    try:
        message = pb.ModelInferRequest.FromString(wire)
    except Exception:  # protobuf's own refusal, before us
        return
    refuses_gracefully(infer_proto.decode, message, TINY, now=0)


def test_the_good_request_is_good():
    request, _ = infer_http.decode(orjson.dumps(GOOD), None, TINY, now=0)
    assert TINY.rows(request.inputs) == 1
    assert request.deadline == math.inf
