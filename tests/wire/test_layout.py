"""What is remembered of requests changes how fast they are read, and never what they say."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from protos import inference_pb2 as pb
from runtimes.tensors import DATATYPES, TensorSpec
from server.domain.errors import InvalidRequest
from server.domain.signature import Signature
from server.wire import infer_http, infer_proto, layout
from server.wire.message_layout import MessageLayouts, find_message
from tests.wire.strategies import elements, same

NUMBERS = sorted(DATATYPES.keys() - {"FP16", "BF16", "BYTES", "BOOL"})
GOOD = [1, 2, 3, 4]


def model(datatype: str = "FP32") -> Signature:
    return Signature("tiny", [TensorSpec("X", datatype, (-1, 4))], [TensorSpec("Y", "FP32", (-1, 2))], 8)


def body(data: Any, datatype: str = "FP32", **rest: Any) -> bytes:
    tensor = {"name": "X", "shape": [1, 4], "datatype": datatype, "data": data}
    return json.dumps({"inputs": [tensor], **rest}).encode()


Outcome = tuple[str, Any]


def outcome(read: Callable[[], Any]) -> Outcome:
    """What came of it, in a form that can be compared: NaN is NaN here."""
    try:
        request, form = read()
    except InvalidRequest as refusal:
        return "refused", str(refusal)
    inputs = [
        (name, array.dtype, array.shape, repr(array.tolist())) for name, array in request.inputs.items()
    ]
    facts = (request.model, request.version, request.id, request.outputs, dict(request.parameters))
    return "read", (inputs, facts, request.deadline, request.priority, form)


def of_json(text: bytes, signature: Signature) -> Outcome:
    return outcome(lambda: infer_http.decode(text, None, signature, version="3", now=7.0))


def assert_memory_changes_nothing(text: bytes, knows: Signature, fresh: Signature) -> None:
    assert of_json(text, knows) == of_json(text, fresh)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_a_request_in_json_is_known_again_by_the_text_around_its_elements(datatype):
    knows = model(datatype)
    infer_http.decode(body(GOOD, datatype), None, knows, now=0)
    found = layout.find_json(body([5, 6, 7, 8], datatype), knows, "", 1.0)
    assert found is not None
    assert found[0].inputs["X"].tolist() == [[5, 6, 7, 8]]
    assert found[0].rows == 1


@given(st.data(), st.sampled_from(NUMBERS))
def test_elements_are_read_the_same_with_and_without_memory(data, datatype):
    fitting = st.lists(elements(datatype), min_size=4, max_size=4)
    odd = st.lists(
        st.one_of(
            st.booleans(),
            st.none(),
            st.integers(-(2**70), 2**70),
            st.floats(),
            st.text(max_size=3),
            st.lists(st.integers(0, 3), max_size=3),
            st.just({}),
        ),
        max_size=5,
    )
    knows, fresh = model(datatype), model(datatype)
    of_json(body(GOOD, datatype), knows)
    assert_memory_changes_nothing(body(data.draw(st.one_of(fitting, odd)), datatype), knows, fresh)


TAILS = (
    "}]}",
    "}],}",
    '}],"id":"a"}',
    '}],"id":7}',
    "}]} ",
    "}]",
    '}],"outputs":[{"name":"Y"}]}',
    ',"data":[9]}]}',
)
HEADS = (
    '{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":',
    '{"inputs":[{"data":[1,2,3,4],"name":"X","shape":[1,4],"datatype":"FP32","data":',
    '{"id":"\\"data\\":","inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":',
    '{"parameters":{"timeout":5},"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":',
    '{"parameters":{"binary_data_output":true},"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":',
    '{"data":0,"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":',
)
LISTS = (
    "[1,2,3,4]",
    " [ 1 , 2,3 ,4 ] ",
    "[[1,2],[3,4]]",
    "[1,2,3,4],",
    "[1,2,3,4",
    "[]",
    "[1,2,3,4],[5]",
    "[1e999,2,3,4]",
)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("tail", TAILS)
def test_whatever_came_before_a_text_says_what_it_says(head, tail):
    knows = model()
    for numbers in LISTS:
        text = (head + numbers + tail).encode()
        for _ in range(2):  # the second time it may be known
            assert_memory_changes_nothing(text, knows, model())


@given(st.data())
def test_a_text_with_changed_bytes_is_read_the_same_with_and_without_memory(data):
    knows = model()
    text = bytearray(body([1.5, -2, 3, 4e3], parameters={"binary_data_output": True}))
    of_json(bytes(text), knows)
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(
            st.sampled_from(b'0159.,-+eE[]{}":atun \x00\xff')
        )
    assert_memory_changes_nothing(bytes(text), knows, model())


def of_binary(text: bytes, tensor: bytes, signature: Signature) -> Outcome:
    return outcome(lambda: infer_http.decode(text + tensor, len(text), signature, version="3", now=7.0))


@pytest.mark.parametrize("size", [0, 15, 16, 17, 32])
def test_bytes_of_another_length_are_no_known_request(size):
    knows = model()
    tensor = {"name": "X", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": [tensor]}).encode()
    assert of_binary(head, bytes(16), knows)[0] == "read"
    assert of_binary(head, bytes(range(size)), knows) == of_binary(head, bytes(range(size)), model())


def test_a_request_that_does_not_fit_is_not_remembered():
    knows = model()
    of_json(body([1, 2]), knows)
    of_json(body(GOOD, id="7"), knows)
    of_json(body(GOOD, parameters={"timeout": 5}), knows)
    of_json(body(GOOD, outputs=[{"name": "Y", "parameters": {"classification": 1}}]), knows)
    assert not knows.remembered


def test_what_is_remembered_has_bounds():
    knows = model()
    for spaces in range(2 * layout.MOST):
        of_json(b" " * spaces + body(GOOD), knows)
    assert len(knows.remembered) <= layout.MOST
    assert max(map(len, knows.remembered)) <= layout.LONGEST


# Messages


def message(values: Any = GOOD, **rest: Any) -> pb.ModelInferRequest:
    asked = pb.ModelInferRequest(model_name="tiny", model_version="3", **rest)
    asked.inputs.add(name="X", datatype="FP32", shape=[1, 4])
    asked.raw_input_contents.append(np.array(values, np.float32).tobytes())
    return asked


class Front:
    """Reads messages as the front does: by how they begin where that is known."""

    def __init__(self) -> None:
        self._layouts = MessageLayouts()
        self._signature = model()
        self.known = 0

    def read(self, wire: bytes) -> Outcome:
        return outcome(lambda: self._read(wire))

    def _read(self, wire: bytes) -> Any:
        found = self._layouts.find(wire)
        if found is not None:
            beginning, name, version = found
            assert (name, version) == ("tiny", "3")
            read = find_message(wire, beginning, version, self._signature, 7.0)
            if read is not None:
                self.known += 1
                return read
        asked = pb.ModelInferRequest.FromString(wire)
        request, form = infer_proto.decode(asked, self._signature, now=7.0)
        self._layouts.keep(wire, asked, request, form, self._signature)
        return request, form


def test_a_message_is_known_again_by_how_it_begins():
    front = Front()
    assert front.read(message().SerializeToString()) == front.read(message().SerializeToString())
    kind, (inputs, *_) = front.read(message([5, 6, 7, 8]).SerializeToString())
    assert front.known == 2
    assert kind == "read"
    assert inputs[0][3] == "[[5.0, 6.0, 7.0, 8.0]]"


VARIANTS = {
    "an id": message(id="7"),
    "a parameter": message(parameters={"timeout": pb.InferParameter(int64_param=5)}),
    "two tensors": message(raw_input_contents=[b""]),
    "classes": message(
        outputs=[
            pb.ModelInferRequest.InferRequestedOutputTensor(
                name="Y", parameters={"classification": pb.InferParameter(int64_param=1)}
            )
        ]
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_message_that_may_mean_something_else_is_parsed_each_time(variant):
    front = Front()
    wire = VARIANTS[variant].SerializeToString()
    assert front.read(wire) == front.read(wire)
    assert not front.known


def test_a_message_whose_tensor_does_not_stand_last_is_parsed_each_time():
    front = Front()
    tensor = message()
    only_raw = pb.ModelInferRequest(raw_input_contents=tensor.raw_input_contents)
    del tensor.raw_input_contents[:]
    for wire in (
        only_raw.SerializeToString() + tensor.SerializeToString(),
        tensor.SerializeToString() + only_raw.SerializeToString() + b"\x1a\x00",  # an empty id behind it
    ):
        assert front.read(wire) == front.read(wire)
    assert not front.known


@given(st.data())
def test_changed_bytes_are_read_the_same_with_and_without_memory(data):
    knows = Front()
    wire = bytearray(message().SerializeToString())
    knows.read(bytes(wire))
    place = data.draw(st.integers(0, len(wire) - 17))  # before the elements
    wire[place] = data.draw(st.integers(0, 255))

    def read(front: Front) -> Outcome:
        try:
            return front.read(bytes(wire))
        except (DecodeError, AssertionError) as error:  # not a message any more, or another model's
            return "neither", type(error).__name__

    assert read(knows) == read(Front())


def test_an_array_is_viewed_in_the_message_and_not_copied():
    front = Front()
    front.read(message().SerializeToString())
    wire = message([5, 6, 7, 8]).SerializeToString()
    found = front._layouts.find(wire)
    assert found is not None
    read = find_message(wire, found[0], "3", front._signature, 7.0)
    assert read is not None
    array = read[0].inputs["X"]
    assert same(array, np.array([[5, 6, 7, 8]], np.float32))
    assert array.base is wire
