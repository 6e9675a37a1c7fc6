"""Requests about the repository: which parameters a load or an unload has, as JSON and as messages."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protos import inference_pb2 as pb
from server.domain.errors import InvalidRequest, NotSupported
from server.wire import json_text
from server.wire.parameters import flag
from server.wire.raw import Buffer
from server.wire.tensor_json import parameters_of
from server.wire.values import kind_of, shown

_FILE = "file:"
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_NO_REPOSITORY = "naming a repository is not supported: leave repository_name empty"


@dataclass(frozen=True, slots=True)
class LoadOverrides:
    """What a load request brings along instead of what is on disk.

    config    a `ModelConfig` as JSON text; None where the one on disk is meant
    files     `VERSION/NAME` -> content; if there are any, they are the whole model
    version   this one alone is to be loaded; None for those of the version policy
    """

    config: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Unload:
    """The parameters of an unload.

    dependents   the models that were loaded because this one is made of them are to be unloaded too
    version      this one alone is to go; None for all of them
    """

    dependents: bool = False
    version: int | None = None


def decode_index(body: Buffer) -> bool:
    """Whether only what is ready is wanted. An empty body asks for all."""
    return flag(_document(body), "ready", "the request")


def decode_load(body: Buffer) -> LoadOverrides:
    """The parameters of a load over HTTP; files are base64. An empty body has none."""
    parameters = parameters_of(_document(body), "the request")
    return _overrides({key: _from_base64(key, value) for key, value in parameters.items()})


def decode_unload(body: Buffer) -> Unload:
    """The parameters of an unload over HTTP. An empty body has none."""
    return _unload(parameters_of(_document(body), "the request"))


def index_of(message: pb.RepositoryIndexRequest) -> bool:
    """Whether only what is ready is wanted."""
    if message.repository_name:
        raise NotSupported(_NO_REPOSITORY)
    return message.ready


def load_of(message: pb.RepositoryModelLoadRequest) -> LoadOverrides:
    """The parameters of a load over gRPC; files are bytes as they are."""
    _check_names(message)
    return _overrides(_plain(message.parameters))


def unload_of(message: pb.RepositoryModelUnloadRequest) -> Unload:
    _check_names(message)
    return _unload(_plain(message.parameters))


def _check_names(message: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> None:
    if message.model_name:
        if message.repository_name:
            raise NotSupported(_NO_REPOSITORY)
    elif message.repository_name:
        raise InvalidRequest(
            f"model_name is empty and repository_name is '{message.repository_name}': "
            "KServe's client sends the model's name as field 1, which is repository_name here; "
            "model_name is field 2"
        )
    else:
        raise InvalidRequest("model_name is empty")


def _document(body: Buffer) -> dict[str, Any]:
    if not body:
        return {}
    document = json_text.read(body)
    if type(document) is not dict:
        raise InvalidRequest(f"the request must be a JSON object, but is {kind_of(document)}")
    return document


def _plain(parameters: Any) -> dict[str, Any]:
    return {
        key: getattr(value, value.WhichOneof("parameter_choice") or "", None)
        for key, value in parameters.items()
    }


def _from_base64(key: str, value: object) -> object:
    if not key.startswith(_FILE) or type(value) is not str:
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"parameter '{key}' must be standard base64") from None


def _overrides(parameters: Mapping[str, Any]) -> LoadOverrides:
    config: str | None = None
    files: dict[str, bytes] = {}
    version: int | None = None
    for key, value in parameters.items():
        if key == "config":
            if type(value) is not str:
                raise InvalidRequest("parameter 'config' must be a string that holds JSON")
            config = value
        elif key.startswith(_FILE):
            if type(value) is not bytes:
                raise InvalidRequest(f"parameter '{key}' must be the content of a file")
            files[key.removeprefix(_FILE)] = value
        elif key == "version":
            version = _version(value)
        else:
            raise InvalidRequest(
                f"unrecognized load parameter '{key}'; there are 'config', 'file:VERSION/NAME' and 'version'"
            )
    if files and config is None:
        raise InvalidRequest("parameter 'config' must be given where files are: they replace the whole model")
    if version is not None and config is not None:
        raise InvalidRequest("parameter 'version' cannot stand beside 'config', which is of the whole model")
    return LoadOverrides(config, files, version)


def _unload(parameters: Mapping[str, Any]) -> Unload:
    for key in parameters:
        if key not in ("unload_dependents", "version"):
            raise InvalidRequest(
                f"unrecognized unload parameter '{key}'; there are 'unload_dependents' and 'version'"
            )
    dependents = flag(parameters, "unload_dependents", "the request")
    return Unload(dependents, _version(parameters["version"]) if "version" in parameters else None)


def _version(value: object) -> int:
    """A version as a whole number, or as the text of one."""
    text = str(value) if type(value) in (int, str) else ""
    if not _VERSION.fullmatch(text):
        raise InvalidRequest(
            "parameter 'version' must be a whole number from 1 on, or a string that holds one, "
            f"but is {kind_of(value)}: {shown(value)}"
        )
    return int(text)
