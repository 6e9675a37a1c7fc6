"""Messages over gRPC, by either front: right ones after accidents, and bytes that are no message."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from protos import inference_pb2 as pb
from tests.contract.question import FORMS, RAW, Question
from tests.contract.rows import Asker
from tests.fuzz.accidents import INPUTS, MODELS
from tests.fuzz.harm import is_sound_call

many = settings(settings.get_profile("fuzz"))

SIZES = st.integers(-1, 5) | st.integers(-(2**63), 2**63 - 1)
NAMES = st.sampled_from(["x", "y", "said", "a", "", "double", "\0", "ü" * 600]) | st.text(max_size=5)
KEYS = st.sampled_from(
    [
        *("timeout", "priority", "sequence_id", "sequence_start", "sequence_end", "mine", "headers", ""),
        *("binary_data_output", "binary_data", "binary_data_size", "classification", "triton_x"),
        *("triton_enable_empty_final_response", "shared_memory_region", "shared_memory_byte_size"),
    ]
)
DATATYPES = ("FP32", "FP64", "BYTES", "INT8", "INT32", "UINT64", "BOOL", "FP16", "BF16", "", "float", "ß")

Spoil = Callable[[st.DrawFn, pb.ModelInferRequest], None]


def spoil_name(draw: st.DrawFn, message: pb.ModelInferRequest) -> None:
    message.model_name = draw(NAMES)


def spoil_version(draw: st.DrawFn, message: pb.ModelInferRequest) -> None:
    message.model_version = draw(st.sampled_from(["1", "2", "-1", "01", "x", "9" * 30]) | st.text(max_size=3))


def spoil_id(draw: st.DrawFn, message: pb.ModelInferRequest) -> None:
    message.id = draw(st.text(max_size=8) | st.integers(0, 3000).map(lambda size: "i" * size))


def spoil_shape(draw: st.DrawFn, message: pb.ModelInferRequest) -> None:
    for tensor in message.inputs:
        tensor.ClearField("shape")
        tensor.shape.extend(draw(st.lists(SIZES, max_size=4) | st.lists(SIZES, min_size=60, max_size=130)))


def spoil_datatype(draw: st.DrawFn, message: pb.ModelInferRequest) -> None:
    for tensor in message.inputs:
        tensor.datatype = draw(st.sampled_from(DATATYPES))


def spoil_input_name(draw: st.DrawFn, message: pb.ModelInferRequest) -> None:
    for tensor in message.inputs:
        tensor.name = draw(NAMES)


def spoil_inputs(draw: st.DrawFn, message: pb.ModelInferRequest) -> None:
    if message.inputs and draw(st.booleans()):
        message.inputs.add().CopyFrom(message.inputs[0])
    else:
        message.inputs.add(name=draw(NAMES), datatype="FP32", shape=[1, 4])


def spoil_contents(draw: st.DrawFn, message: pb.ModelInferRequest) -> None:
    """More elements, in places that may be the right ones."""
    for tensor in message.inputs:
        contents = tensor.contents
        match draw(st.integers(0, 7)):
            case 0:
                contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=9)))
            case 1:
                contents.fp64_contents.extend(draw(st.lists(st.floats(), max_size=3)))
            case 2:
                contents.int_contents.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3)))
            case 3:
                contents.int64_contents.extend(draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)))
            case 4:
                contents.uint_contents.extend(draw(st.lists(st.integers(0, 2**32 - 1), max_size=3)))
            case 5:
                contents.uint64_contents.extend(draw(st.lists(st.integers(0, 2**64 - 1), max_size=3)))
            case 6:
                contents.bool_contents.extend(draw(st.lists(st.booleans(), max_size=3)))
            case _:
                contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=3), max_size=3)))


def spoil_raw(draw: st.DrawFn, message: pb.ModelInferRequest) -> None:
    if message.raw_input_contents and draw(st.booleans()):
        content = message.raw_input_contents.pop()
        at = draw(st.integers(0, len(content)))
        spoilt = content[:at] + draw(st.binary(max_size=5)) + content[at + draw(st.integers(0, 5)) :]
        message.raw_input_contents.append(spoilt)
    else:
        message.raw_input_contents.extend(draw(st.lists(st.binary(max_size=40), max_size=2)))


def spoil_parameters(draw: st.DrawFn, message: pb.ModelInferRequest) -> None:
    holders: list[Any] = [message, *message.inputs, *message.outputs]
    parameter = draw(st.sampled_from(holders)).parameters[draw(KEYS)]
    match draw(st.integers(0, 5)):
        case 0:
            parameter.bool_param = draw(st.booleans())
        case 1:
            parameter.int64_param = draw(SIZES)
        case 2:
            parameter.string_param = draw(st.text(max_size=4))
        case 3:
            parameter.double_param = draw(st.floats())
        case 4:
            parameter.uint64_param = draw(st.integers(0, 2**64 - 1))
        case _:
            parameter.SetInParent()


def spoil_outputs(draw: st.DrawFn, message: pb.ModelInferRequest) -> None:
    output = message.outputs.add(name=draw(st.sampled_from(["x", "y", "c", "heard", ""])))
    if draw(st.booleans()):
        output.parameters["classification"].int64_param = draw(SIZES)


ACCIDENTS: tuple[Spoil, ...] = (
    *(spoil_name, spoil_version, spoil_id, spoil_shape, spoil_datatype, spoil_input_name, spoil_inputs),
    *(spoil_contents, spoil_raw, spoil_parameters, spoil_outputs),
)


@st.composite
def messages(draw: st.DrawFn) -> pb.ModelInferRequest:
    """A good message after a few accidents."""
    model = draw(st.sampled_from(MODELS))
    form = draw(st.sampled_from(FORMS[2:] if model != "half" else [RAW]))
    message = Question(model, INPUTS[model]).over_grpc(form)
    for spoil in draw(st.lists(st.sampled_from(ACCIDENTS), min_size=1, max_size=4)):
        spoil(draw, message)
    return message


@many
@given(messages())
def test_any_message_that_is_nearly_a_request(grpc_asker: Asker, message: pb.ModelInferRequest):
    ended = grpc_asker.call("ModelInfer", message.SerializeToString())
    assert is_sound_call(ended), ended


@st.composite
def spoilt_bytes(draw: st.DrawFn) -> bytes:
    """A message on the wire, with bytes lost, doubled and changed."""
    wire = bytearray(draw(messages()).SerializeToString())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(wire)))
        match draw(st.sampled_from(["cut", "lose", "put in", "change", "double"])):
            case "cut":
                del wire[at:]
            case "lose":
                del wire[at : at + draw(st.integers(1, 8))]
            case "put in":
                wire[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "change":
                wire[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case _:
                wire += wire[:at]
    return bytes(wire)


@many
@given(spoilt_bytes())
def test_any_bytes_that_are_nearly_a_message(grpc_asker: Asker, wire: bytes):
    ended = grpc_asker.call("ModelInfer", wire)
    assert is_sound_call(ended), ended


METHODS = (
    *("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig"),
    *("ModelStatistics", "RepositoryIndex", "ModelInfer", "/grpc.health.v1.Health/Check"),
)


@many
@given(st.sampled_from(METHODS), st.binary(max_size=60))
def test_any_bytes_for_any_call(grpc_asker: Asker, method: str, wire: bytes):
    ended = grpc_asker.call(method, wire)
    assert is_sound_call(ended), ended
