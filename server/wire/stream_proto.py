"""One message of the stream that answers `ModelStreamInfer`: an answer, or why there is none.

An answer that is serialized already is wrapped as it is. As Triton's do, each message has its request's id
and says that it is the last one of its request; a caller need not have asked for that.
"""

from collections.abc import Mapping

from protos import inference_pb2 as pb
from server.domain.request import Parameters
from server.wire.varint import varint

FINAL = "triton_final_response"
_INFER_RESPONSE = bytes([2 << 3 | 2])
"""The tag of the field with number 2, whose length follows."""


def last(parameters: Parameters) -> Mapping[str, bool | int | float | str]:
    """The parameters of an answer that no other follows."""
    return {**parameters, FINAL: True}


def answer(content: bytes) -> bytes:
    """Wrap a serialized `ModelInferResponse`."""
    return b"".join((_INFER_RESPONSE, varint(len(content)), content))


def refusal(sentence: str, request: pb.ModelInferRequest) -> bytes:
    """Say of this request why it has no answer, and whose it was. The stream goes on."""
    message = pb.ModelStreamInferResponse(error_message=sentence.encode("utf-8", "replace").decode())
    response = message.infer_response
    response.id = request.id
    response.model_name = request.model_name
    response.model_version = request.model_version
    response.parameters[FINAL].bool_param = True
    return message.SerializeToString()
