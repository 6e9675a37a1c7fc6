"""Messages that are wrong as only gRPC lets them be: garbage, or fields that contradict each other."""

from collections.abc import Iterator, Sequence
from typing import Any

from grpc import StatusCode
from grpc_health.v1 import health_pb2

from protos import inference_pb2 as pb
from tests.contract.models import BROKEN, LARGEST
from tests.contract.question import RAW, TYPED, Question, filled
from tests.contract.rows import INVALID, NOT_FOUND, TOO_LARGE, UNSUPPORTED, Call

HEALTH = "/grpc.health.v1.Health/"
REQUESTS: dict[str, str] = {
    "ServerLive": "ServerLiveRequest",
    "ServerReady": "ServerReadyRequest",
    "ModelReady": "ModelReadyRequest",
    "ServerMetadata": "ServerMetadataRequest",
    "ModelMetadata": "ModelMetadataRequest",
    "ModelConfig": "ModelConfigRequest",
    "ModelStatistics": "ModelStatisticsRequest",
    "RepositoryIndex": "RepositoryIndexRequest",
    "RepositoryModelLoad": "RepositoryModelLoadRequest",
    "RepositoryModelUnload": "RepositoryModelUnloadRequest",
    "ModelInfer": "ModelInferRequest",
}
"""Every method of the service, with its message."""

GARBAGE: dict[str, bytes] = {
    "ones": b"\xff" * 20,
    "a length beyond the end": b"\x0a\x7fabc",
    "a group without an end": b"\x0b",
    "an end without a group": b"\x0c",
    "a tag of 0": b"\x00\x01",
    "a number without an end": b"\x08" + b"\xff" * 11,
    "JSON": b'{"model_name": "double"}',
}

NOT_UTF8: list[tuple[str, bytes]] = [
    ("ModelInfer", b"\x0a\x02\xff\xfe"),
    ("ModelReady", b"\x0a\x02\xff\xfe"),
    ("ModelMetadata", b"\x0a\x02\xc3\x28"),
    ("RepositoryModelLoad", b"\x12\x02\xff\xfe"),
]

A, B = filled("a", "INT32", 1, 1), filled("b", "FP32", 1, 2)


def question(form: str = RAW) -> pb.ModelInferRequest:
    """A good one, with two inputs."""
    return Question("pair", [A, B]).over_grpc(form)


def with_raw(*contents: bytes, form: str = RAW) -> pb.ModelInferRequest:
    message = question(form)
    del message.raw_input_contents[:]
    message.raw_input_contents.extend(contents)
    return message


def typed(**fields: Sequence[Any]) -> pb.ModelInferRequest:
    """The contents of input b, field by field."""
    message = question(TYPED)
    message.inputs[1].contents.Clear()
    for field, elements in fields.items():
        getattr(message.inputs[1].contents, field).extend(elements)
    return message


def both_ways_for_one() -> pb.ModelInferRequest:
    message = question()
    message.inputs[1].contents.fp32_contents.extend([1, 1])
    return message


def without_a_value(where: str) -> pb.ModelInferRequest:
    message = question()
    message.outputs.add(name="c")
    holder = {"request": message, "input": message.inputs[0], "output": message.outputs[0]}[where]
    holder.parameters["mine"].SetInParent()
    return message


INFERENCES: list[tuple[str, pb.ModelInferRequest, str]] = [
    ("typed and raw", both_ways_for_one(), "must not be specified when using raw_input_contents"),
    ("typed, and raw of nothing", with_raw(b"", form=TYPED), "contents field must not be specified"),
    ("raw of one input", with_raw(bytes(4)), "unable to find data for input 'b' for model 'pair'"),
    ("raw of no input", with_raw(), "unexpected number of elements for input 'a' for model 'pair'"),
    ("raw of three inputs", with_raw(bytes(4), bytes(8), b""), "expected 2 entries in raw_input_contents"),
    ("raw of swapped inputs", with_raw(bytes(8), bytes(4)), "input byte size mismatch for input 'a'"),
    ("another kind's field", typed(int_contents=[1, 1]), "goes into fp32_contents, but int_contents"),
    ("two fields", typed(fp32_contents=[1], fp64_contents=[1]), "fp32_contents, fp64_contents is filled"),
    ("too few elements", typed(fp32_contents=[1]), "shape [1,2] has 2, fp32_contents has 1"),
    ("too many elements", typed(fp32_contents=[1, 1, 1]), "shape [1,2] has 2, fp32_contents has 3"),
    ("a parameter of nothing", without_a_value("request"), "parameter 'mine' has no value"),
    ("an output's parameter of nothing", without_a_value("output"), "parameter 'mine' has no value"),
    ("an input's parameter of nothing", without_a_value("input"), "parameter 'mine' has no value"),
]

NOT_NUMBERS = ("abc", "-1", "+1", "1.0", " 1", "0x1", "١", "latest", "9" * 19)
NAMED = ("ModelMetadata", "ModelConfig", "ModelReady")


def rows() -> Iterator[Call]:
    for method, kind in REQUESTS.items():
        says = f"the message cannot be read as inference.{kind}"
        for title, wire in GARBAGE.items():
            yield Call(f"garbage: {method}, {title}", method, wire, INVALID.grpc, says)
    for title, wire in GARBAGE.items():
        says = "the message cannot be read as grpc.health.v1.HealthCheckRequest"
        yield Call(f"garbage: health, {title}", HEALTH + "Check", wire, INVALID.grpc, says)
    for method, wire in NOT_UTF8:
        yield Call(f"not UTF-8: {method}", method, wire, INVALID.grpc, "the message cannot be read as")
    for title, message, says in INFERENCES:
        yield Call(f"message: {title}", "ModelInfer", message.SerializeToString(), INVALID.grpc, says)
    yield Call("message: an empty one", "ModelInfer", b"", NOT_FOUND.grpc, "unknown model: '' is not found")
    yield from _names()
    yield from _repository()
    yield from _services()


def _names() -> Iterator[Call]:
    for version in NOT_NUMBERS:
        says = f"failed to get model version from specified version string '{version}'"
        asked = pb.ModelInferRequest(model_name="double", model_version=version).SerializeToString()
        yield Call(f"version {version!r}: ModelInfer", "ModelInfer", asked, INVALID.grpc, says)
        asked = pb.ModelMetadataRequest(name="double", version=version).SerializeToString()
        for method in NAMED:
            yield Call(f"version {version!r}: {method}", method, asked, INVALID.grpc, says)
    for name, version, says in [
        ("nobody", "", "Request for unknown model: 'nobody' is not found"),
        ("", "", "Request for unknown model: '' is not found"),
        ("double", "77", "Request for unknown model: 'double' version 77 is not found"),
        (BROKEN, "", "Request for unknown model: 'broken' has no available versions"),
    ]:
        asked = pb.ModelMetadataRequest(name=name, version=version).SerializeToString()
        for method in ("ModelMetadata", "ModelConfig"):
            yield Call(f"{name!r} {version}: {method}", method, asked, NOT_FOUND.grpc, says)
        if name:
            says = f"requested model '{name}' is not available"
            yield Call(f"{name!r} {version}: statistics", "ModelStatistics", asked, INVALID.grpc, says)


def _repository() -> Iterator[Call]:
    load, unload = pb.RepositoryModelLoadRequest, pb.RepositoryModelUnloadRequest
    for method, kind in (("RepositoryModelLoad", load), ("RepositoryModelUnload", unload)):
        as_kserve = kind(repository_name="double").SerializeToString()
        says = "KServe's client sends the model's name as field 1, which is repository_name here"
        yield Call(f"{method}: KServe's layout", method, as_kserve, INVALID.grpc, says)
        yield Call(f"{method}: no name", method, b"", INVALID.grpc, "model_name is empty")
        named = kind(repository_name="local", model_name="double").SerializeToString()
        yield Call(f"{method}: a repository", method, named, UNSUPPORTED.grpc, "naming a repository is not")
        empty = kind(model_name="double")
        empty.parameters["config"].SetInParent()
        wire = empty.SerializeToString()
        yield Call(f"{method}: a parameter of nothing", method, wire, INVALID.grpc, "parameter")
    wire = pb.RepositoryIndexRequest(repository_name="local").SerializeToString()
    yield Call("index: a repository", "RepositoryIndex", wire, UNSUPPORTED.grpc, "naming a repository is not")
    for value in ({"string_param": "text"}, {"int64_param": 5}, {"bool_param": True}):
        asked = load(model_name="new")
        asked.parameters["config"].string_param = "{}"
        asked.parameters["file:1/model.onnx"].CopyFrom(pb.ModelRepositoryParameter(**value))
        says = "parameter 'file:1/model.onnx' must be the content of a file"
        wire = asked.SerializeToString()
        yield Call(f"load: a file as {value}", "RepositoryModelLoad", wire, INVALID.grpc, says)


def _services() -> Iterator[Call]:
    unknown = health_pb2.HealthCheckRequest(service="nobody").SerializeToString()
    yield Call("health: of an unknown service", HEALTH + "Check", unknown, NOT_FOUND.grpc, "not known here")
    for method in ("ModelDream", "modelinfer", "/inference.Inference/ModelInfer", "/", HEALTH + "Listen"):
        yield Call(f"method: {method}", method, b"", StatusCode.UNIMPLEMENTED, "")
    large = Question("double", [filled("x", "FP32", LARGEST // 16, 4)]).over_grpc(RAW).SerializeToString()
    yield Call("size: an inference", "ModelInfer", large, TOO_LARGE.grpc, "")
    large = pb.ModelReadyRequest(name="n" * LARGEST).SerializeToString()
    yield Call("size: another call", "ModelReady", large, TOO_LARGE.grpc, "")
