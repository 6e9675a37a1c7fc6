"""Whatever bytes, documents or messages arrive: an answer in time, no fault of ours, and no harm done."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protos import inference_pb2 as pb
from tests.contract.line import Answer, request, to_model
from tests.contract.question import FORMS, JSON, RAW, Question, filled
from tests.contract.rows import Asker
from tests.server_process import Server

MODELS = ("double", "echo", "pair", "half", "truth", "small", "whole", "digits_onnx")
INPUTS = {
    "double": [filled("x", "FP32", 2, 4)],
    "echo": [filled("said", "BYTES", 2, 1)],
    "pair": [filled("a", "INT32", 1, 1), filled("b", "FP32", 1, 2)],
    "half": [filled("x", "FP16", 1, 2)],
    "truth": [filled("x", "BOOL", 1, 2)],
    "small": [filled("x", "UINT8", 1, 2)],
    "whole": [filled("x", "FP32", 2, 2)],
    "digits_onnx": [filled("IMAGE", "BYTES", 1, 1)],
}
OURS = {StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED}
"""Codes that would say that the fault is the server's, or that it did not answer."""

LATE = "Request timeout expired"
"""What those hear who ask for a millionth of a second."""

many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", autouse=True)
def unharmed(server: Server) -> Iterator[None]:
    """After all of it the server is ready, answers rightly, and has nothing to report."""
    yield
    assert server.ready()
    asker = Asker(server)
    answer = asker.rest(Question("double", INPUTS["double"]).over_http(JSON))
    assert json.loads(answer.body)["outputs"][0]["data"] == [2.0] * 8
    asker.close()
    assert "request_crashed" not in server.log
    assert "Traceback" not in server.log


def is_sound(answer: Answer) -> bool:
    """Answered, or refused in the one shape, and not for a fault of the server's own."""
    if answer.status == 200:
        return True
    return bool(answer.error) and (answer.status < 500 or answer.status == 501 or LATE in answer.error)


VERBS = ("infer", "predict", "generate", "generate_stream")
LENGTHS = st.none() | st.integers(0, 80).map(str) | st.from_regex(r"[ -~]{0,8}", fullmatch=True)


@many
@given(st.sampled_from(MODELS), st.sampled_from(VERBS), st.binary(max_size=80), LENGTHS)
def test_any_bytes_with_any_header_length(
    asker: Asker, model: str, verb: str, body: bytes, length: str | None
):
    headers = [] if length is None else [f"Inference-Header-Content-Length: {length}"]
    assert is_sound(asker.rest(request(to_model(model, verb), body, *headers)))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([*INPUTS, "x", "y", "FP32", "BYTES", "BOOL", 0, 1, 2, 4, -1])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def good_document(model: str) -> dict[str, Any]:
    """With every member that a request may have."""
    document = {"inputs": [], "outputs": [], "id": "one", "parameters": {"timeout": 5_000_000, "priority": 1}}
    for tensor in INPUTS[model]:
        told = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        document["inputs"].append({**told, "data": list(tensor.data), "parameters": {"mine": 1}})
    outputs = {"echo": "heard", "pair": "c", "digits_onnx": "digit"}
    document["outputs"].append({"name": outputs.get(model, "y"), "parameters": {"binary_data": False}})
    return document


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document, as its holder and its key."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from places(value[key])


@st.composite
def mutated(draw: st.DrawFn, model: str) -> bytes:
    """A good request after a few accidents: values replaced, lost, doubled, moved; text cut."""
    document = deepcopy(good_document(model))
    for _ in range(draw(st.integers(1, 4))):
        found = list(places(document))
        if not found:
            break
        holder, key = draw(st.sampled_from(found))
        match draw(st.sampled_from(["replace", "lose", "double", "move"])):
            case "replace":
                holder[key] = draw(VALUES)
            case "lose":
                del holder[key]
            case "double" if isinstance(holder, list):
                holder.append(deepcopy(holder[key]))
            case "double":
                holder[draw(st.text(max_size=6))] = deepcopy(holder[key])
            case _:
                other, place = draw(st.sampled_from(found))
                other[place] = deepcopy(holder[key])
    text = json.dumps(document).encode()
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


@many
@given(st.data(), st.sampled_from(MODELS), st.binary(max_size=20))
def test_any_document_that_is_nearly_a_request(asker: Asker, data: st.DataObject, model: str, tail: bytes):
    text = data.draw(mutated(model))
    path = to_model(model, "infer")
    assert is_sound(asker.rest(request(path, text)))
    in_bytes = request(path, text + tail, f"Inference-Header-Content-Length: {len(text)}")
    assert is_sound(asker.rest(in_bytes))


@many
@given(st.sampled_from(MODELS), VALUES)
def test_any_document_where_a_plain_object_is_due(asker: Asker, model: str, value: Any):
    named = {tensor.name: value for tensor in INPUTS[model]}
    for document in (value, named, [named, value], {"instances": value}):
        assert is_sound(asker.rest(request(to_model(model, "predict"), json.dumps(document).encode())))


@many
@given(st.sampled_from(MODELS), VALUES)
def test_any_document_where_instances_or_a_prompt_are_due(asker: Asker, model: str, value: Any):
    named = {tensor.name: value for tensor in INPUTS[model]}
    for instances in (value, [value], [named, value]):
        body = json.dumps({"instances": instances}).encode()
        assert is_sound(asker.rest(request(f"/v1/models/{model}:predict", body)))
    for document in (value, named, {**named, "id": value}, {**named, "parameters": value}):
        assert is_sound(asker.rest(request(to_model(model, "generate"), json.dumps(document).encode())))


@many
@given(st.sampled_from(["index", "models/nobody/unload", "models/nobody/load", "models/broken/load"]), VALUES)
def test_any_document_where_an_order_is_due(asker: Asker, order: str, value: Any):
    for document in (value, {"ready": value}, {"parameters": value}, {"parameters": {"config": value}}):
        answer = asker.rest(request(f"/v2/repository/{order}", json.dumps(document).encode()))
        assert answer.status in (200, 400, 500)
        if answer.status == 500:
            assert answer.error.startswith("failed to load ")


@st.composite
def messages(draw: st.DrawFn) -> pb.ModelInferRequest:
    """A good message after accidents in any of its fields."""
    model = draw(st.sampled_from(MODELS))
    form = draw(st.sampled_from(FORMS[2:] if model != "half" else [RAW]))
    message = Question(model, INPUTS[model]).over_grpc(form)
    sizes = st.integers(-1, 5) | st.integers(-(2**63), 2**63 - 1)
    for tensor in message.inputs:
        if draw(st.booleans()):
            del tensor.shape[:]
            tensor.shape.extend(draw(st.lists(sizes, max_size=4)))
        if draw(st.integers(0, 3)) == 0:
            tensor.datatype = draw(st.sampled_from(["FP32", "BYTES", "INT8", "BOOL", "FP16", "BF16", ""]))
        if draw(st.integers(0, 3)) == 0:
            tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=3)))
            tensor.contents.uint_contents.extend(draw(st.lists(st.integers(0, 2**32 - 1), max_size=3)))
            tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=3), max_size=3)))
    if draw(st.integers(0, 3)) == 0:
        message.raw_input_contents.extend(draw(st.lists(st.binary(max_size=40), max_size=2)))
    for key in draw(st.lists(st.sampled_from(["timeout", "priority", "sequence_id", "mine"]), max_size=2)):
        match draw(st.integers(0, 3)):
            case 0:
                message.parameters[key].double_param = draw(st.floats())
            case 1:
                message.parameters[key].int64_param = draw(st.integers(-(2**63), 2**63 - 1))
            case 2:
                message.parameters[key].string_param = draw(st.text(max_size=4))
            case _:
                message.parameters[key].SetInParent()
    if draw(st.integers(0, 3)) == 0:
        count = draw(st.integers(-2, 2**63 - 1))
        message.outputs.add(name=draw(st.sampled_from("xyc"))).parameters[
            "classification"
        ].int64_param = count
    return message


@many
@given(messages())
def test_any_message_that_is_nearly_a_request(asker: Asker, message: pb.ModelInferRequest):
    ended = asker.call("ModelInfer", message.SerializeToString())
    assert ended.status not in OURS or LATE in ended.details, ended


METHODS = (
    *("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig"),
    *("ModelStatistics", "RepositoryIndex", "ModelInfer", "/grpc.health.v1.Health/Check"),
)


@many
@given(st.sampled_from(METHODS), st.binary(max_size=60))
def test_any_bytes_for_any_call(asker: Asker, method: str, wire: bytes):
    ended = asker.call(method, wire)
    assert ended.status not in OURS, ended
