"""The infer request and its answer as protobuf messages.

Raw contents are viewed; typed contents are read straight into arrays. An answer is written as the
bytes of a `ModelInferResponse`: what it says of its tensors is serialized once for each shape and
remembered, and the tensors follow as they are, so each is copied once.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from protos import inference_pb2 as pb
from server.domain.errors import InvalidRequest, NotSupported
from server.domain.request import InferRequest, InferResponse, Parameters
from server.domain.signature import Signature
from server.domain.tensors import DATATYPES, Array, Datatype
from server.wire import parameters, raw
from server.wire.classification import NO_LABELS, Labels
from server.wire.form import AS_BYTES, ReplyForm, form_of
from server.wire.outputs import named, outputs_of
from server.wire.varint import varint

_CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where typed elements of each datatype are; FP16 and BF16 have no such place."""


def decode(
    message: pb.ModelInferRequest, signature: Signature, *, now: float
) -> tuple[InferRequest, ReplyForm]:
    """Read one message; `now` is of the monotonic clock, when it arrived.

    Raises `InvalidRequest`, or `NotSupported` for shared memory. The inputs are not yet held
    against the signature, which says which outputs have rows.
    """
    model = message.model_name
    contents = list(message.raw_input_contents)
    inputs: dict[str, Array] = {}
    for index, tensor in enumerate(message.inputs):
        name, array = _input(tensor, contents, index, model)
        if name in inputs:
            raise InvalidRequest(f"input '{name}' for model '{model}' is there more than once")
        inputs[name] = array
    if len(contents) > len(inputs):
        raise InvalidRequest(
            f"expected {len(inputs)} entries in raw_input_contents for model '{model}', got {len(contents)}"
        )
    request = InferRequest(model, message.model_version, inputs, message.id, arrived=now)
    if message.parameters:
        request.deadline, request.priority, request.parameters = parameters.read(
            _plain(message.parameters), now
        )
    if not message.outputs:
        return request, AS_BYTES
    wanted = [_wanted(output, model) for output in message.outputs]
    request.outputs, form = form_of(wanted, model, True, signature.max_batch_size > 0)
    return request, form


def _input(
    tensor: pb.ModelInferRequest.InferInputTensor, contents: list[bytes], index: int, model: str
) -> tuple[str, Array]:
    name = tensor.name
    if not name:
        raise InvalidRequest(f"an input for model '{model}' has no name")
    what = f"input '{name}' for model '{model}'"
    if tensor.parameters and parameters.names_shared_memory(_plain(tensor.parameters)):
        raise NotSupported(f"{what} is in shared memory, which this server does not offer")
    return name, tensor_of(tensor, contents, index, what)


def tensor_of(tensor: Any, contents: Sequence[bytes], index: int, what: str) -> Array:
    """The tensor at a place of a message: an input of a request, or an output of an answer.

    `contents` are the raw contents of the message, if it has any. Raises `InvalidRequest`.
    """
    datatype = DATATYPES.get(tensor.datatype)
    if datatype is None:
        raise InvalidRequest(
            f"{what} has datatype '{tensor.datatype}', which is none of {', '.join(DATATYPES)}"
        )
    shape = tensor.shape[:]
    if shape and min(shape) < 0:
        raise InvalidRequest(f"shape of {what} must have sizes from 0 on, but is {raw.written(shape)}")
    if not contents:
        return _typed(tensor.contents, datatype, shape, what)
    if tensor.HasField("contents"):
        raise InvalidRequest(f"contents field must not be specified when using raw_input_contents for {what}")
    if index >= len(contents):
        raise InvalidRequest(
            f"unable to find data for {what}: raw_input_contents has {len(contents)} entries"
        )
    content = contents[index]
    return raw.decode(content, 0, len(content), datatype, shape, what)


def _typed(contents: pb.InferTensorContents, datatype: Datatype, shape: list[int], what: str) -> Array:
    field = _CONTENTS.get(datatype.name)
    if field is None:
        raise InvalidRequest(f"{what} is {datatype.name}, which must be sent in raw_input_contents")
    filled = [descriptor.name for descriptor, _ in contents.ListFields()]
    if filled not in ([], [field]):
        raise InvalidRequest(
            f"{what} is {datatype.name}, which goes into {field}, but {', '.join(filled)} is filled"
        )
    elements = getattr(contents, field)
    count = prod(shape)
    if len(elements) != count:
        raise InvalidRequest(
            f"unexpected number of elements for {what}: shape {raw.written(shape)} has {count}, "
            f"{field} has {len(elements)}"
        )
    return raw.shaped(_elements(contents, elements, datatype, what), shape, what)


def _elements(contents: pb.InferTensorContents, elements: Any, datatype: Datatype, what: str) -> Array:
    count = len(elements)
    if datatype.dtype.kind == "f" and count:
        return _packed(contents, datatype, count)
    try:
        return np.fromiter(elements, datatype.dtype, count)
    except OverflowError:
        limits = np.iinfo(datatype.dtype)
        odd = next(value for value in elements if not limits.min <= value <= limits.max)
        raise InvalidRequest(
            f"{what} is {datatype.name}, from {limits.min} to {limits.max}, but holds {odd}"
        ) from None


def _packed(contents: pb.InferTensorContents, datatype: Datatype, count: int) -> Array:
    """Floats as protobuf packs them: a tag of one byte, the length, and then the array itself.

    A hundred times as fast as asking for one after the other.
    """
    contents.DiscardUnknownFields()
    packed = contents.SerializeToString()
    return np.frombuffer(packed, datatype.dtype, count, len(packed) - count * datatype.itemsize)


def _plain(message_parameters: Any) -> dict[str, Any]:
    """A map of `InferParameter` as plain values. Raises `InvalidRequest` for one without a value."""
    plain = {}
    for key, parameter in message_parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise InvalidRequest(f"parameter '{key}' has no value")
        plain[key] = getattr(parameter, choice)
    return plain


def _wanted(output: pb.ModelInferRequest.InferRequestedOutputTensor, model: str) -> tuple[str, bool, int]:
    name = output.name
    if not name:
        raise InvalidRequest(f"an output for model '{model}' has no name")
    if not output.parameters:
        return name, True, 0
    what = f"output '{name}' for model '{model}'"
    given = _plain(output.parameters)
    if parameters.names_shared_memory(given):
        raise NotSupported(f"{what} is wanted in shared memory, which this server does not offer")
    return name, True, parameters.whole(given, "classification", what)


def encode(response: InferResponse, form: ReplyForm, labels: Labels = NO_LABELS) -> bytes:
    """One serialized `ModelInferResponse`, with every output in `raw_output_contents`.

    Raises `InferenceFailed` for an output that the protocol has no datatype for.
    """
    heads: list[_Head] = []
    parts: list[bytes | memoryview] = [b""]
    for name, array in outputs_of(response, form, labels).items():
        heads.append((name, named(response, name, array), array.shape))
        content = raw.encode(array)
        parts += (_RAW_OUTPUT_CONTENTS, varint(len(content)), content)
    parts[0] = _head(response.model, response.version, tuple(heads))
    if response.id or response.parameters:
        parts.append(_own(response).SerializeToString())
    return b"".join(parts)


_Head = tuple[str, str, tuple[int, ...]]
"""Name, datatype and shape of an output."""

_RAW_OUTPUT_CONTENTS = bytes([6 << 3 | 2])
"""The tag before each entry of the field with number 6. Parts of a message may be joined in any order."""


@lru_cache(maxsize=1024)
def _head(model: str, version: str, heads: tuple[_Head, ...]) -> bytes:
    message = pb.ModelInferResponse(model_name=model, model_version=version)
    for name, datatype, shape in heads:
        message.outputs.add(name=name, datatype=datatype, shape=shape)
    return message.SerializeToString()


def _own(response: InferResponse) -> pb.ModelInferResponse:
    """What no other answer of this shape shares: the id and the parameters."""
    message = pb.ModelInferResponse(id=response.id)
    put_parameters(message.parameters, response.parameters)
    return message


def put_parameters(field: Any, given: Parameters) -> None:
    """Write parameters into the field of a message that is for them."""
    for key, value in given.items():
        parameter = field[key]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, str):
            parameter.string_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        elif value < 2**63:
            parameter.int64_param = value
        else:
            parameter.uint64_param = value
