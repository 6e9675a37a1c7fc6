"""One question in every form that clients have for it: JSON and binary over HTTP, raw and typed over gRPC."""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from protos import inference_pb2 as pb
from tests.contract.line import request, to_model

DTYPES = {
    "BOOL": "?",
    "UINT8": "<u1",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
JSON, BINARY, RAW, TYPED = "JSON", "binary", "raw gRPC", "typed gRPC"
FORMS = (JSON, BINARY, RAW, TYPED)

Value = bool | int | float | str
Parameters = Mapping[str, Value]


@dataclass(frozen=True)
class Tensor:
    """One input. `data` is written as the datatype says; `content` are bytes that stand in for it."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: Sequence[Any] = ()
    parameters: Parameters = field(default_factory=dict)
    content: bytes | None = None

    def raw(self) -> bytes:
        if self.content is not None:
            return self.content
        if self.datatype == "BYTES":
            return b"".join(struct.pack("<I", len(text)) + text for text in map(str.encode, self.data))
        return np.array(self.data).astype(DTYPES.get(self.datatype, "<f4")).tobytes()


@dataclass(frozen=True)
class Question:
    """`outputs` are the names asked for, each with its parameters."""

    model: str
    inputs: Sequence[Tensor]
    outputs: Sequence[tuple[str, Parameters]] = ()
    parameters: Parameters = field(default_factory=dict)
    version: str = ""

    def path(self) -> str:
        return to_model(self.model, *(["versions", self.version] if self.version else []), "infer")

    def over_http(self, form: str) -> bytes:
        """The whole request: all in JSON, or its tensors in bytes after it."""
        if form == JSON:
            return request(self.path(), self.in_json())
        text = json.dumps(self._document(binary=True)).encode()
        tensors = b"".join(tensor.raw() for tensor in self.inputs)
        return request(self.path(), text + tensors, f"Inference-Header-Content-Length: {len(text)}")

    def in_json(self) -> bytes:
        """The body alone."""
        return json.dumps(self._document(binary=False)).encode()

    def over_grpc(self, form: str) -> pb.ModelInferRequest:
        message = pb.ModelInferRequest(model_name=self.model, model_version=self.version)
        for tensor in self.inputs:
            asked = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            _put(tensor.parameters, asked.parameters)
            if form == RAW:
                message.raw_input_contents.append(tensor.raw())
            else:
                data = map(str.encode, tensor.data) if tensor.datatype == "BYTES" else tensor.data
                getattr(asked.contents, CONTENTS.get(tensor.datatype, "fp32_contents")).extend(data)
        for name, parameters in self.outputs:
            _put(parameters, message.outputs.add(name=name).parameters)
        _put(self.parameters, message.parameters)
        return message

    def _document(self, binary: bool) -> dict[str, Any]:
        document: dict[str, Any] = {"inputs": list(self._tensors(binary))}
        if self.outputs:
            document["outputs"] = [
                {"name": name, **({"parameters": parameters} if parameters else {})}
                for name, parameters in self.outputs
            ]
        if self.parameters:
            document["parameters"] = self.parameters
        return document

    def _tensors(self, binary: bool) -> Iterator[dict[str, Any]]:
        for tensor in self.inputs:
            told = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
            if binary:
                own = {**tensor.parameters, "binary_data_size": len(tensor.raw())}
                yield {**told, "parameters": own}
            else:
                own = dict(tensor.parameters)
                yield {**told, "data": tensor.data, **({"parameters": own} if own else {})}


def _put(parameters: Parameters, where: Any) -> None:
    for key, value in parameters.items():
        match value:
            case bool():
                where[key].bool_param = value
            case int():
                where[key].int64_param = value
            case float():
                where[key].double_param = value
            case str():
                where[key].string_param = value


def filled(name: str, datatype: str, *shape: int, **rest: Any) -> Tensor:
    """A tensor of ones, as many as its shape says."""
    one: Any = {"BYTES": "1", "BOOL": True, "FP16": 1.0, "FP32": 1.0, "FP64": 1.0}.get(datatype, 1)
    return Tensor(name, datatype, shape, [one] * prod(shape), **rest)
