"""A model's labels, as clients read and change them over HTTP. Triton has no such call."""

from collections.abc import Iterable
from typing import Any

from server.domain.errors import InvalidRequest
from server.domain.labels import LARGEST_VERSION, SYNTAX, Label, is_label
from server.wire import json_text
from server.wire.raw import Buffer
from server.wire.values import kind_of, shown


def labels(model: str, found: Iterable[Label]) -> dict[str, Any]:
    return {
        "name": model,
        "labels": {
            label.name: {
                "version": str(label.version),
                "from": label.source.value,
                "serves": label.serves,
            }
            for label in found
        },
    }


def decode(body: Buffer) -> dict[str, int | None]:
    """Label -> version, or None to take it back. An empty body changes nothing. Raises `InvalidRequest`."""
    document = json_text.read(body) if body else {}
    if type(document) is not dict:
        raise InvalidRequest(f"the request must be a JSON object, but is {kind_of(document)}")
    return {_label(label): _version(label, value) for label, value in document.items()}


def _label(text: str) -> str:
    if not is_label(text):
        raise InvalidRequest(f"{shown(text)} is no label, which is {SYNTAX}")
    return text


def _version(label: str, value: object) -> int | None:
    if value is None:
        return None
    text = str(value) if type(value) in (int, str) else ""
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or not 0 < int(text) <= LARGEST_VERSION:
        raise InvalidRequest(
            f"label '{label}' must be given the number of a version, such as 3, or null to take it back, "
            f"but is {kind_of(value)}: {shown(value)}"
        )
    return int(text)
