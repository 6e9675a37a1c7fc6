"""The commands that ask a server that runs: `tercet models` and `tercet infer`."""

import json
import mimetypes
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from server.app.client import ask, model_path, parser_of, server_of
from server.app.command import CommandFailed, UsageError


def models(words: Sequence[str]) -> int:
    """Print a table of a running server's models."""
    asked = parser_of("models", "Show the models of a running server.").parse_args(words)
    with server_of(asked) as server:
        lines = ask(server, "POST", "/v2/repository/index")
        counts = {
            (each["name"], each["version"]): each["inference_count"]
            for each in ask(server, "GET", "/v2/models/stats")["model_stats"]
        }
        platforms = {
            name: ask(server, "GET", model_path(name))["platform"]
            for name in {line["name"] for line in lines if line.get("state") == "READY"}
        }
    table = Table("model", "version", "state", "platform", "inferences", "reason")
    for line in sorted(lines, key=lambda line: (line["name"], int(line.get("version") or 0))):
        name, number = line["name"], line.get("version", "")
        state = line.get("state", "") + ("" if line.get("loaded", True) else " (idle)")
        count = str(counts.get((name, number), ""))
        table.add_row(name, number, state, platforms.get(name, ""), count, line.get("reason", ""))
    Console(highlight=False, markup=False).print(table)
    return 0


# infer


def infer(words: Sequence[str]) -> int:
    """Ask a model of a running server, and print its answer as JSON."""
    parser = parser_of("infer", "Ask a model of a running server; the answer is printed as JSON.")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--version", default="", help="a version of it; the newest that is ready if not given"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--file", help="post this file as it is, such as an image")
    source.add_argument(
        "--json", metavar="FILE", help="post this JSON, plain or an OIP request; - reads stdin"
    )
    source.add_argument(
        "--input",
        metavar="NAME=VALUE",
        action="append",
        help="one field of the request: JSON or text, or @FILE with either; repeat it for several",
    )
    asked = parser.parse_args(words)
    path = model_path(asked.model, asked.version)
    with server_of(asked) as server:
        if asked.file:
            media_type = mimetypes.guess_type(asked.file)[0] or "application/octet-stream"
            answer = ask(server, "POST", f"{path}/predict", _bytes(asked.file), media_type)
        else:
            request = _json_of(asked.json) if asked.json else dict(_named_value(each) for each in asked.input)
            verb = "infer" if _is_oip(request) else "predict"
            answer = ask(server, "POST", f"{path}/{verb}", json.dumps(request).encode(), "application/json")
    print(json.dumps(answer, ensure_ascii=False))
    return 0


def _is_oip(request: object) -> bool:
    """An Open Inference Protocol request lists its inputs as tensors; all else is a plain object."""
    inputs = request.get("inputs") if isinstance(request, dict) else None
    return isinstance(inputs, list) and all(isinstance(each, dict) and "datatype" in each for each in inputs)


def _named_value(written: str) -> tuple[str, object]:
    name, equals, value = written.partition("=")
    if not (name and equals):
        raise UsageError(f"--input {written}: must be NAME=VALUE or NAME=@FILE")
    text = _text(value[1:]) if value.startswith("@") else value
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def _json_of(file: str) -> object:
    try:
        return json.loads(sys.stdin.read() if file == "-" else _text(file))
    except ValueError as error:
        raise CommandFailed(f"{file} is not JSON: {error}") from None


def _text(file: str) -> str:
    try:
        return _bytes(file).decode()
    except UnicodeDecodeError:
        raise CommandFailed(f"{file} is not text; `--file {file}` posts it as it is") from None


def _bytes(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from None
