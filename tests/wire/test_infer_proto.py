"""Infer over gRPC, both ways, against the messages of the public clients."""

from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from hypothesis import given
from tritonclient.grpc import service_pb2 as triton_pb
from tritonclient.utils import np_to_triton_dtype

from protos import inference_pb2 as pb
from runtimes.tensors import DATATYPES, Array, datatype_of
from server.domain.errors import InferenceFailed, InvalidRequest, NotSupported
from server.domain.request import FOREVER, InferResponse
from server.wire.form import AS_BYTES, ReplyForm
from server.wire.infer_proto import decode, encode
from tests.wire.models import TINY
from tests.wire.strategies import JSON_DATATYPES, same, tensors

FIELDS = {
    "BOOL": "bool",
    "INT64": "int64",
    "UINT64": "uint64",
    "FP32": "fp32",
    "FP64": "fp64",
    "BYTES": "bytes",
}


def typed_field(datatype: str) -> str:
    return FIELDS.get(datatype, "int" if datatype.startswith("INT") else "uint") + "_contents"


def message(**tensor: Any) -> pb.ModelInferRequest:
    """One input `INPUT` of two FP32 elements without data, changed as told."""
    changed = {"name": "INPUT", "datatype": "FP32", "shape": [2], **tensor}
    return pb.ModelInferRequest(model_name="tiny", inputs=[pb.ModelInferRequest.InferInputTensor(**changed)])


def typed(datatype: str, field: str, *elements: Any) -> pb.ModelInferRequest:
    contents = pb.InferTensorContents(**{field: elements})
    return message(datatype=datatype, shape=[len(elements)], contents=contents)


def raw(*contents: bytes, **tensor: Any) -> pb.ModelInferRequest:
    asked = message(**tensor)
    asked.raw_input_contents.extend(contents)
    return asked


@given(tensors(sorted(DATATYPES)))
def test_tritons_raw_contents_are_understood_in_every_datatype(array: Array):
    sent = triton.InferInput("X", list(array.shape), np_to_triton_dtype(array.dtype))
    sent.set_data_from_numpy(array)
    theirs = triton_pb.ModelInferRequest(
        model_name="tiny", model_version="3", id="7", inputs=[sent._get_tensor()]
    )
    theirs.raw_input_contents.append(sent._get_content())
    request, form = decode(pb.ModelInferRequest.FromString(theirs.SerializeToString()), TINY, now=0)
    assert (request.model, request.version, request.id, form) == ("tiny", "3", "7", AS_BYTES)
    assert same(request.inputs["X"], array)


@given(tensors(JSON_DATATYPES))
def test_typed_contents_are_understood_in_every_datatype(array: Array):
    datatype = datatype_of(array)
    contents = pb.InferTensorContents(**{typed_field(datatype): array.reshape(-1).tolist()})
    request, _ = decode(message(datatype=datatype, shape=array.shape, contents=contents), TINY, now=0)
    assert same(request.inputs["INPUT"], array)


@given(tensors(sorted(DATATYPES)))
def test_tritons_client_reads_answers_in_every_datatype(array: Array):
    wire = encode(InferResponse("tiny", "1", {"Y": array}, id="x"), AS_BYTES)
    read = triton.InferResult(triton_pb.ModelInferResponse.FromString(wire))
    assert same(read.as_numpy("Y"), array)
    assert read.get_response().id == "x"


def test_an_answer_says_all_that_it_has():
    outputs = {
        "A": np.zeros((2, 3), np.int8),
        "B": np.array([b"x"], dtype=object),
        "C": np.zeros((0,), np.float64),
    }
    parameters = {"flag": True, "text": "x", "real": 0.5, "small": -3, "large": 2**63}
    wire = encode(InferResponse("tiny", "2", outputs, id="é", parameters=parameters), AS_BYTES)
    read = pb.ModelInferResponse.FromString(wire)
    assert (read.model_name, read.model_version, read.id) == ("tiny", "2", "é")
    assert [(out.name, out.datatype, list(out.shape)) for out in read.outputs] == [
        ("A", "INT8", [2, 3]),
        ("B", "BYTES", [1]),
        ("C", "FP64", [0]),
    ]
    assert list(read.raw_output_contents) == [bytes(6), b"\x01\0\0\0x", b""]
    assert {
        key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in read.parameters.items()
    } == (parameters)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 3_000_000])
def test_an_answer_of_any_size_is_read_by_protobuf(size: int):
    wire = encode(InferResponse("tiny", "2", {"A": np.zeros(size, np.uint8)}), AS_BYTES)
    assert pb.ModelInferResponse.FromString(wire).raw_output_contents[0] == bytes(size)


def test_classes_come_as_bytes():
    asked = raw(bytes(8))
    asked.outputs.add(name="OUTPUT").parameters["classification"].int64_param = 1
    request, form = decode(asked, TINY, now=0)
    wire = encode(InferResponse("tiny", "1", {"OUTPUT": np.array([[0.1, 0.9]], np.float32)}), form)
    assert request.outputs == ("OUTPUT",)
    assert form == ReplyForm(binary=True, chosen={"OUTPUT": True}, classes={"OUTPUT": 1}, batched=True)
    assert pb.ModelInferResponse.FromString(wire).raw_output_contents[0] == b"\x0a\0\0\x000.900000:1"


def test_parameters_of_every_kind_are_understood():
    asked = raw(bytes(8))
    asked.parameters["priority"].uint64_param = 3
    asked.parameters["timeout"].int64_param = 500_000
    asked.parameters["sequence_id"].string_param = "abc"
    asked.parameters["real"].double_param = 0.5
    asked.parameters["flag"].bool_param = True
    asked.parameters["triton_enable_empty_final_response"].bool_param = True
    request, _ = decode(asked, TINY, now=10.0)
    assert (request.priority, request.deadline, request.arrived) == (3, 10.5, 10.0)
    assert request.parameters == {
        "sequence_id": "abc",
        "real": 0.5,
        "flag": True,
        "triton_enable_empty_final_response": True,
    }


def test_a_request_without_parameters_has_all_the_time_there_is():
    assert decode(raw(bytes(8)), TINY, now=0)[0].deadline == FOREVER


def test_typed_numbers_are_the_field_that_is_known_whatever_else_the_message_brings():
    contents = pb.InferTensorContents(fp32_contents=[1, 2]).SerializeToString() + b"\x98\x06\x05"  # field 99
    asked = message(contents=pb.InferTensorContents.FromString(contents))
    assert decode(asked, TINY, now=0)[0].inputs["INPUT"].tolist() == [1, 2]


def doubled() -> pb.ModelInferRequest:
    asked = raw(bytes(8), bytes(8))
    asked.inputs.append(asked.inputs[0])
    return asked


def both() -> pb.ModelInferRequest:
    asked = typed("FP32", "fp32_contents", 1, 2)
    asked.raw_input_contents.append(bytes(8))
    return asked


def two_inputs(*contents: bytes) -> pb.ModelInferRequest:
    asked = raw(*contents)
    asked.inputs.add(name="SECOND", datatype="FP32", shape=[2])
    return asked


def with_parameter(key: str, **value: Any) -> pb.ModelInferRequest:
    asked = raw(bytes(8))
    asked.parameters[key].CopyFrom(pb.InferParameter(**value))
    return asked


def with_outputs(*names: str, **parameter: Any) -> pb.ModelInferRequest:
    asked = raw(bytes(8))
    for name in names:
        output = asked.outputs.add(name=name)
        if parameter:
            output.parameters["classification"].CopyFrom(pb.InferParameter(**parameter))
    return asked


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (raw(bytes(8), name=""), "an input for model 'tiny' has no name"),
        (raw(bytes(8), datatype="FLOAT"), "'INPUT' for model 'tiny' has datatype 'FLOAT'"),
        (raw(bytes(8), datatype=""), "has datatype ''"),
        (raw(bytes(8), shape=[-1, 2]), "from 0 on"),
        (raw(bytes(8), shape=[2**62, 2**62]), "got 8"),
        (raw(bytes(7)), "Expected 8, got 7"),
        (raw(bytes(8), bytes(8)), "expected 1 entries in raw_input_contents for model 'tiny', got 2"),
        (two_inputs(bytes(8)), "unable to find data for input 'SECOND'"),
        (doubled(), "more than once"),
        (both(), "contents field must not be specified when using raw_input_contents for input 'INPUT'"),
        (message(), "shape .2. has 2, fp32_contents has 0"),
        (
            typed("FP32", "fp64_contents", 1, 2),
            "FP32, which goes into fp32_contents, but fp64_contents is filled",
        ),
        (typed("FP16", "fp32_contents", 1, 2), "FP16, which must be sent in raw_input_contents"),
        (typed("BF16", "fp32_contents", 1, 2), "BF16, which must be sent in raw_input_contents"),
        (typed("INT8", "int_contents", 1, 128), "INT8, from -128 to 127, but holds 128"),
        (typed("INT16", "int_contents", -32769), "holds -32769"),
        (typed("UINT8", "uint_contents", 256), "holds 256"),
        (typed("UINT16", "uint_contents", 65536), "holds 65536"),
        (with_parameter("timeout", string_param="5"), "parameter 'timeout'"),
        (with_parameter("timeout", int64_param=-5), "parameter 'timeout'"),
        (with_parameter("priority", double_param=1.0), "parameter 'priority'"),
        (with_parameter("sequence_start", int64_param=1), "parameter 'sequence_start'"),
        (with_parameter("triton_secret", bool_param=True), "parameter 'triton_secret' is reserved"),
        (with_parameter("mine"), "parameter 'mine' has no value"),
        (with_outputs(""), "an output for model 'tiny' has no name"),
        (with_outputs("A", "A"), "output 'A' is requested more than once"),
        (with_outputs("A", int64_param=-1), "'classification'"),
        (with_outputs("A", string_param="3"), "'classification'"),
    ],
)
def test_a_wrong_message_is_refused(asked: pb.ModelInferRequest, says: str):
    with pytest.raises(InvalidRequest, match=says):
        decode(asked, TINY, now=0)


def test_shared_memory_is_not_offered():
    asked = message(parameters={"shared_memory_region": pb.InferParameter(string_param="r")})
    with pytest.raises(NotSupported, match=r"input 'INPUT'.*shared memory"):
        decode(asked, TINY, now=0)
    wanted = raw(bytes(8))
    wanted.outputs.add(name="Y").parameters["shared_memory_region"].string_param = "r"
    with pytest.raises(NotSupported, match=r"output 'Y'.*shared memory"):
        decode(wanted, TINY, now=0)


def test_an_output_that_the_protocol_has_no_datatype_for_is_the_models_fault():
    with pytest.raises(InferenceFailed, match="'Y'"):
        encode(InferResponse("tiny", "1", {"Y": np.zeros(1, np.complex64)}), AS_BYTES)
