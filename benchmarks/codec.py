"""From named arrays to the bytes of a request, and from the bytes of a reply to named arrays.

The bytes are those of tritonclient, by its own words, except for JSON: its numbers are written with as many
digits as a float32 has and no more, as clients in other languages do.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import orjson
import tritonclient.grpc
import tritonclient.http
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

from benchmarks.call import GRPC_PREFIX_BYTES, Call, Door
from benchmarks.models import Tensors

JSON_SIZE = "Inference-Header-Content-Length"


class Encode(Protocol):
    def __call__(self, door: Door, model: str, row: Tensors, *, http_port: int, grpc_port: int) -> Call: ...


class ReadHttp(Protocol):
    def __call__(self, headers: Mapping[str, str], body: bytes) -> Tensors: ...


@dataclass(frozen=True, slots=True)
class Speech:
    """How a server wants to be asked, and how its answer over HTTP is read."""

    encode: Encode
    read_http: ReadHttp


def encode(door: Door, model: str, row: Tensors, *, http_port: int, grpc_port: int) -> Call:
    path = f"/v2/models/{model}/infer"
    if door is Door.JSON:
        headers = {"Content-Type": "application/json"}
        return Call(door=door, port=http_port, path=path, headers=headers, body=_json_body(row))
    if door is Door.BINARY:
        body, json_size = _binary_body(row)
        headers = {"Content-Type": "application/octet-stream", JSON_SIZE: str(json_size)}
        return Call(door=door, port=http_port, path=path, headers=headers, body=body)
    message = _grpc_message(model, row)
    return Call(
        door=door,
        port=grpc_port,
        path="/inference.GRPCInferenceService/ModelInfer",
        headers={"content-type": "application/grpc", "te": "trailers"},
        body=b"\0" + len(message).to_bytes(GRPC_PREFIX_BYTES - 1, "big") + message,
    )


def decode_http(headers: Mapping[str, str], body: bytes) -> Tensors:
    json_size = next((value for name, value in headers.items() if name.lower() == JSON_SIZE.lower()), None)
    result = tritonclient.http.InferResult.from_response_body(
        body, header_length=json_size and int(json_size)
    )
    return {tensor["name"]: result.as_numpy(tensor["name"]) for tensor in result.get_response()["outputs"]}


OPEN_INFERENCE = Speech(encode, decode_http)


def decode_grpc(message: bytes) -> Tensors:
    result = tritonclient.grpc.InferResult(service_pb2.ModelInferResponse.FromString(message))
    return {tensor.name: result.as_numpy(tensor.name) for tensor in result.get_response().outputs}


def _json_body(row: Tensors) -> bytes:
    inputs = [
        {
            "name": name,
            "shape": array.shape,
            "datatype": np_to_triton_dtype(array.dtype),
            "data": [{"b64": base64.b64encode(each).decode()} for each in array.ravel()]
            if array.dtype == np.object_
            else array.ravel(),
        }
        for name, array in row.items()
    ]
    return orjson.dumps({"inputs": inputs}, option=orjson.OPT_SERIALIZE_NUMPY)


def _binary_body(row: Tensors) -> tuple[bytes, int]:
    inputs = []
    for name, array in row.items():
        inputs.append(tritonclient.http.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    body, json_size = tritonclient.http.InferenceServerClient.generate_request_body(inputs)
    return body, json_size


def _grpc_message(model: str, row: Tensors) -> bytes:
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, array in row.items():
        request.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
        request.raw_input_contents.append(_raw(array))
    message: bytes = request.SerializeToString()
    return message


def _raw(array: NDArray[Any]) -> bytes:
    if array.dtype == np.object_:
        raw: bytes = serialize_byte_tensor(array).item()
        return raw
    return array.tobytes()
