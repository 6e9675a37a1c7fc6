"""What the server, its models and its repository say of themselves, as JSON values and as messages."""

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf import json_format

from protos import inference_pb2 as pb
from server.domain.catalogue import VersionFacts
from server.domain.state import State, Status
from server.domain.tensors import TensorSpec


def server_metadata(name: str, version: str, extensions: Sequence[str]) -> dict[str, Any]:
    """`extensions` are those that are on, by the names of the protocol."""
    return {"name": name, "version": version, "extensions": list(extensions)}


def server_metadata_message(name: str, version: str, extensions: Sequence[str]) -> pb.ServerMetadataResponse:
    return pb.ServerMetadataResponse(name=name, version=version, extensions=extensions)


def model_metadata(facts: VersionFacts, versions: Sequence[int]) -> dict[str, Any]:
    """`versions` is the one that was asked for, or all that are ready."""
    return {
        "name": facts.model,
        "versions": [str(version) for version in versions],
        "platform": facts.platform,
        "inputs": [_tensor(spec) for spec in facts.signature.inputs],
        "outputs": [_tensor(spec) for spec in facts.signature.outputs],
    }


def model_metadata_message(facts: VersionFacts, versions: Sequence[int]) -> pb.ModelMetadataResponse:
    return json_format.ParseDict(model_metadata(facts, versions), pb.ModelMetadataResponse())


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def repository_index(statuses: Iterable[Status], ready_only: bool = False) -> list[dict[str, Any]]:
    """A line for each version, or the bare name of a model that was never tried.

    One that is READY and not in memory has `loaded` as well, which is ours: false.
    """
    return [
        _line(status) if status.loaded else {**_line(status), "loaded": False}
        for status in statuses
        if not ready_only or status.state is State.READY
    ]


def repository_index_message(
    statuses: Iterable[Status], ready_only: bool = False
) -> pb.RepositoryIndexResponse:
    lines = [_line(status) for status in statuses if not ready_only or status.state is State.READY]
    return pb.RepositoryIndexResponse(
        models=[pb.RepositoryIndexResponse.ModelIndex(**line) for line in lines]
    )


def _line(status: Status) -> dict[str, str]:
    if status.version is None and status.state is State.UNKNOWN:
        return {"name": status.model}
    line = {"name": status.model, "version": "", "state": status.state.value}
    if status.version is not None:
        line["version"] = str(status.version)
    if status.reason:
        line["reason"] = status.reason
    return line
