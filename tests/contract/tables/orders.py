"""Loads, unloads and looks at the repository that cannot be done, over REST and gRPC alike."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from protos import inference_pb2 as pb
from tests.contract.line import request
from tests.contract.models import BROKEN
from tests.contract.rows import INTERNAL, INVALID, Call, Rest

CONFIG = '{"max_batch_size": 8}'
Parameters = Mapping[str, bool | int | str | bytes]


def of_config(text: str) -> Parameters:
    return {"config": text}


def of_file(name: str, content: bytes | int = b"this is not a model") -> Parameters:
    return {"config": CONFIG, f"file:{name}": content}


REFUSED: list[tuple[str, str, Parameters, str]] = [
    ("a model that is broken", BROKEN, {}, "load failed for model 'broken': version 1 is at"),
    ("a parameter that there is not", "double", {"speed": "high"}, "unrecognized load parameter 'speed'"),
    ("an unload's parameter", "double", {"unload_dependents": True}, "unrecognized load parameter"),
    ("a configuration of a number", "double", {"config": 5}, "parameter 'config' must be a string"),
    ("files without a configuration", "new", {"file:1/model.onnx": b""}, "'config' must be given"),
    ("a configuration without files", "new", of_config(CONFIG), "'new' is in no repository"),
    ("a file that is no model", "new", of_file("1/model.onnx"), "load failed for model 'new': version 1"),
    ("a file of no version", "new", of_file("model.onnx"), "must be in a version folder"),
    ("a file above", "new", of_file("../model.onnx"), "must be a plain path beneath the model's folder"),
    ("a file far above", "new", of_file("1/../../../x"), "must be a plain path beneath the model's folder"),
    ("a file at the root", "new", of_file("/etc/passwd"), "must be a plain path beneath the model's folder"),
    ("a file without a name", "new", of_file(""), "must be a plain path beneath the model's folder"),
    ("a file with a zero", "new", of_file("1/model\0"), "must be a plain path beneath the model's folder"),
    ("a file of a number", "new", of_file("1/model.onnx", 5), "must be the content of a file"),
    ("a file of a long name", "new", of_file("1/" + "n" * 300), "cannot be written"),
    ("a version and a configuration", "double", {"version": 1, "config": CONFIG}, "cannot stand beside"),
    ("a version of 0", "double", {"version": 0}, "'version' must be a whole number from 1 on"),
    ("a version below 0", "double", {"version": -1}, "'version' must be a whole number from 1 on"),
    ("a version that is no number", "double", {"version": "new"}, "'version' must be a whole number from 1"),
    ("a version with a zero", "double", {"version": "01"}, "'version' must be a whole number from 1 on"),
    ("a huge version", "double", {"version": "9" * 19}, "'version' must be a whole number from 1 on"),
    ("a version of truth", "double", {"version": True}, "'version' must be a whole number from 1 on"),
    ("a model of dots", "..", of_file("1/model.onnx"), "'..' cannot be the name of a model"),
    ("a model with a folder", "a/b", of_file("1/model.onnx"), "'a/b' cannot be the name of a model"),
]

NOT_KNOWN: list[tuple[str, str, Parameters, str]] = [
    ("a name of none", "nobody", {}, "failed to load 'nobody', failed to poll from model repository"),
    ("a name of dots", "..", {}, "failed to load '..', failed to poll from model repository"),
    ("a version that there is not", "double", {"version": 77}, "it has no version 77; there are 1"),
    ("a version of nobody", "nobody", {"version": 1}, "failed to load 'nobody', failed to poll"),
    ("a configuration that is no JSON", "double", of_config("{"), "failed to load 'double', failed to poll"),
    ("a configuration in text format", "double", of_config("max_batch_size: 8"), "failed to load 'double'"),
    ("a configuration of a list", "double", of_config("[]"), "failed to load 'double', failed to poll"),
    ("a field that there is not", "double", of_config('{"max_batch": 8}'), "max_batch"),
    ("a field of another kind", "double", of_config('{"max_batch_size": "8x"}'), "max_batch_size"),
    ("a batch size below 0", "double", of_config('{"max_batch_size": -8}'), "max_batch_size"),
    ("another model's name", "double", of_config('{"name": "echo"}'), "name: is 'echo'"),
]

LOADS = [*((INVALID, row) for row in REFUSED), *((INTERNAL, row) for row in NOT_KNOWN)]

UNLOADS: list[tuple[str, Parameters, str]] = [
    ("a parameter that there is not", {"speed": "high"}, "unrecognized unload parameter 'speed'"),
    ("a load's parameter", {"config": CONFIG}, "unrecognized unload parameter 'config'"),
    ("a version that is no number", {"version": "new"}, "'version' must be a whole number from 1 on"),
    ("dependents of text", {"unload_dependents": "yes"}, "'unload_dependents' of the request must be a bool"),
    ("dependents of a number", {"unload_dependents": 1}, "'unload_dependents' of the request must be a bool"),
]

BODIES: list[tuple[str, bytes, str]] = [
    ("no JSON", b"{", "the request is not JSON"),
    ("a word", b"please", "the request is not JSON"),
    ("a list", b"[]", "the request must be a JSON object, but is a list"),
    ("null", b"null", "the request must be a JSON object, but is null"),
]

BASE64 = ("%%%", "AAA", "AA==AA==", "AÄ==")


def rows() -> Iterator[Rest | Call]:
    for codes, (title, model, parameters, says) in LOADS:
        if "/" not in model:
            yield Rest(f"load: {title}", _over_http(model, "load", parameters), codes.http, says)
        wire = _message(pb.RepositoryModelLoadRequest(model_name=model), parameters)
        yield Call(f"load: {title}", "RepositoryModelLoad", wire, codes.grpc, says)
    for title, parameters, says in UNLOADS:
        yield Rest(f"unload: {title}", _over_http("double", "unload", parameters), 400, says)
        wire = _message(pb.RepositoryModelUnloadRequest(model_name="double"), parameters)
        yield Call(f"unload: {title}", "RepositoryModelUnload", wire, INVALID.grpc, says)
    yield from _over_http_alone()


def _over_http_alone() -> Iterator[Rest]:
    for order in ("index", "models/double/load", "models/double/unload"):
        for title, body, says in BODIES:
            yield Rest(f"{order}: {title}", request(f"/v2/repository/{order}", body), 400, says)
    for ready in (1, 0, "yes", None, [], {}):
        sent = request("/v2/repository/index", json.dumps({"ready": ready}).encode())
        yield Rest(f"index: ready is {ready!r}", sent, 400, "parameter 'ready' of the request must be a bool")
    for order in ("load", "unload"):
        for parameters in (5, "config", []):
            sent = request(
                f"/v2/repository/models/double/{order}", json.dumps({"parameters": parameters}).encode()
            )
            says = "'parameters' of the request must be an object"
            yield Rest(f"{order}: parameters are {parameters!r}", sent, 400, says)
    for written in BASE64:
        document = {"parameters": {"config": CONFIG, "file:1/model.onnx": written}}
        sent = request("/v2/repository/models/new/load", json.dumps(document).encode())
        yield Rest(f"load: base64 of {written!r}", sent, 400, "must be standard base64")


def _over_http(model: str, order: str, parameters: Parameters) -> bytes:
    document: dict[str, Any] = {
        "parameters": {
            key: base64.b64encode(value).decode() if isinstance(value, bytes) else value
            for key, value in parameters.items()
        }
    }
    return request(f"/v2/repository/models/{quote(model, safe='')}/{order}", json.dumps(document).encode())


def _message(message: Any, parameters: Parameters) -> bytes:
    for key, value in parameters.items():
        match value:
            case bool():
                message.parameters[key].bool_param = value
            case int():
                message.parameters[key].int64_param = value
            case str():
                message.parameters[key].string_param = value
            case bytes():
                message.parameters[key].bytes_param = value
    wire: bytes = message.SerializeToString()
    return wire
