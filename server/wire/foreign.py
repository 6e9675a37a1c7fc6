"""An inference as a client asks it of another server of the Open Inference Protocol, and the answer read.

`server.wire.infer_proto` from the other side: what is said of the tensors is protobuf's own work, and the raw
tensors follow it as they are, each copied once into the message and not at all out of the answer.
"""

from collections.abc import Mapping, Sequence

from google.protobuf.message import DecodeError

from protos import inference_pb2 as pb
from server.domain.errors import InvalidRequest
from server.domain.request import Parameter
from server.domain.tensors import Array, Tensors, datatype_of
from server.wire import raw
from server.wire.infer_proto import put_parameters, tensor_of
from server.wire.varint import varint

_RAW_INPUT_CONTENTS = bytes([7 << 3 | 2])
"""The tag before each entry of the field with number 7. Parts of a message may be joined in any order."""


class AnswerUnread(Exception):
    """An answer that is none for this request: the other server is at fault. The sentence says how."""


def request_of(
    model: str,
    version: str,
    requests: Sequence[Tensors],
    *,
    id: str = "",
    outputs: Sequence[str] = (),
    parameters: Mapping[str, Parameter] | None = None,
) -> bytes:
    """One serialized `ModelInferRequest`: the rows of all `requests` one behind the other, as one request.

    They have the same names and, but for their rows, the same shapes.
    """
    head = pb.ModelInferRequest(model_name=model, model_version=version, id=id)
    put_parameters(head.parameters, parameters or {})
    for name in outputs:
        head.outputs.add(name=name)
    parts: list[raw.Buffer] = [b""]
    for name, first in requests[0].items():
        shape = first.shape
        if len(requests) > 1:
            shape = (sum([tensors[name].shape[0] for tensors in requests]), *shape[1:])
        head.inputs.add(name=name, datatype=datatype_of(first), shape=shape)
        pieces = [raw.encode(tensors[name]) for tensors in requests]
        parts += (_RAW_INPUT_CONTENTS, varint(sum(map(len, pieces))), *pieces)
    parts[0] = head.SerializeToString()
    return b"".join(parts)


def answer_of(wire: bytes, model: str) -> dict[str, Array]:
    """The outputs of a serialized `ModelInferResponse`. Raises `AnswerUnread`."""
    try:
        message = pb.ModelInferResponse.FromString(wire)
        contents = list(message.raw_output_contents)
        outputs = {
            tensor.name: tensor_of(tensor, contents, index, f"output '{tensor.name}' of model '{model}'")
            for index, tensor in enumerate(message.outputs)
        }
    except DecodeError:
        raise AnswerUnread("its answer is no ModelInferResponse") from None
    except InvalidRequest as error:
        raise AnswerUnread(str(error)) from None
    if len(outputs) != len(message.outputs):
        raise AnswerUnread(f"an output of model '{model}' is there more than once")
    return outputs
