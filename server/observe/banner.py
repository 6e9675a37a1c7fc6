"""What a terminal shows when the server is up: what it serves, where, and commands to copy.

Pure: facts in, text out. Whoever starts the server gathers the facts and prints.
"""

import json
import shlex
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the repository index, with what is known of it. Empty and None stay blank."""

    model: str
    version: int | None
    state: str
    runtime: str = ""
    device: str = ""
    load_seconds: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request that a served model can answer.

    inputs   as in the body of an infer request: name, shape, datatype (numbers or BOOL), flat data
    """

    model: str
    inputs: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileQuestion:
    """A file that a model with one BYTES input can answer."""

    model: str
    path: str
    media_type: str


def banner(
    rows: Sequence[Row],
    *,
    http_url: str = "",
    grpc_url: str = "",
    metrics_url: str = "",
    docs_url: str = "",
    question: Question | None = None,
    file: FileQuestion | None = None,
) -> str:
    """The whole text, ending in a newline. What is not served, an empty address or None, is left out."""
    doors = {"HTTP": http_url, "gRPC": grpc_url, "metrics": metrics_url, "API page": docs_url}
    commands = []
    if question and http_url:
        commands.append(curl_json(http_url, question))
    if file and http_url:
        commands.append(curl_file(http_url, file))
    if question and grpc_url:
        commands.append(python_client(grpc_url, question))
    parts = [
        _table(rows) if rows else "no models yet",
        "\n".join(f"{name:<8}  {url}" for name, url in doors.items() if url),
        *(["Try it:"] if commands else []),
        *commands,
    ]
    return "\n" + "\n\n".join(parts) + "\n"


def curl_json(http_url: str, question: Question) -> str:
    inputs = [{**tensor, "data": _shortest(tensor)} for tensor in question.inputs]
    body = json.dumps({"inputs": inputs}, separators=(",", ":"))
    return f"curl -s {http_url}/v2/models/{quote(question.model, safe='')}/infer -d {shlex.quote(body)}"


def curl_file(http_url: str, file: FileQuestion) -> str:
    return (
        f"curl -s {http_url}/v2/models/{quote(file.model, safe='')}/predict"
        f" -H 'Content-Type: {file.media_type}' --data-binary @{shlex.quote(file.path)}"
    )


def python_client(grpc_url: str, question: Question) -> str:
    """A script for a shell; it needs tritonclient[grpc] and nothing of ours."""
    lines = [
        "python - <<'END'",
        "import numpy as np, tritonclient.grpc as triton",
        "inputs = []",
    ]
    for tensor in question.inputs:
        name, shape, datatype = tensor["name"], list(tensor["shape"]), tensor["datatype"]
        dtype = datatype.lower().replace("fp", "float")
        lines += [
            f"inputs.append(triton.InferInput({name!r}, {shape}, {datatype!r}))",
            f"inputs[-1].set_data_from_numpy(np.array({_shortest(tensor)}, {dtype!r}).reshape({shape}))",
        ]
    lines += [
        f"answer = triton.InferenceServerClient({grpc_url!r}).infer({question.model!r}, inputs)",
        "print({each.name: answer.as_numpy(each.name) for each in answer.get_response().outputs})",
        "END",
    ]
    return "\n".join(lines)


def _shortest(tensor: Mapping[str, Any]) -> list[Any]:
    """The data, with an FP32 in as few digits as tell it from its neighbours: 5.1, not 5.099999904632568."""
    if tensor["datatype"] != "FP32":
        return list(tensor["data"])
    return [next(filter(partial(_same_fp32, value), _roundings(value))) for value in tensor["data"]]


def _roundings(value: float) -> Iterator[float]:
    return (float(f"{value:.{digits}g}") for digits in range(6, 18))


def _same_fp32(one: float, other: float) -> bool:
    return struct.pack("f", one) == struct.pack("f", other)


def _table(rows: Sequence[Row]) -> str:
    heads = ("MODEL", "VERSION", "STATE", "RUNTIME", "DEVICE", "LOADED IN", "")
    lines = [heads, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    version = "" if row.version is None else str(row.version)
    loaded = "" if row.load_seconds is None else f"{row.load_seconds:.2f} s"
    return row.model, version, row.state, row.runtime, row.device, loaded, " ".join(row.reason.split())
