"""What a version folder should hold: `manifest.json`, with the size and SHA-256 of every file.

    {"tercet_manifest": 1, "files": {"model.onnx": {"size": 1234, "sha256": "9f86…"}}}

The same text for a whole repository, with paths from its root, is the index of one that is served over HTTP.
A JSON object without `tercet_manifest` is somebody else's file. Pure: names and numbers, nothing is read.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

NAME = "manifest.json"
SIGNATURE = "manifest.json.sig"
INDEX = "index.json"
FORMAT = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Entry(NamedTuple):
    """One file: `size` in bytes, `sha256` in lower-case hexadecimals."""

    size: int
    sha256: str


Manifest = Mapping[str, Entry]
"""Path beneath the folder -> what lies there."""


class ManifestInvalid(Exception):
    """A text that is no manifest. `str(error)` completes "manifest.json ..."."""


def read_manifest(content: bytes) -> Manifest | None:
    """The files that it names; None for a JSON file of another kind. Raises `ManifestInvalid`."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise ManifestInvalid("is not JSON, or only a part of it is there") from None
    if not isinstance(values, dict) or "tercet_manifest" not in values:
        return None
    if values["tercet_manifest"] != FORMAT:
        raise ManifestInvalid(f"is of format {values['tercet_manifest']!r}, and {FORMAT} is known here")
    files = values.get("files")
    if not isinstance(files, dict):
        raise ManifestInvalid("has no object 'files'")
    return {path: _entry(path, value) for path, value in files.items()}


def write_manifest(files: Manifest) -> bytes:
    listed = {path: entry._asdict() for path, entry in sorted(files.items())}
    return (json.dumps({"tercet_manifest": FORMAT, "files": listed}, indent=1) + "\n").encode()


def misfit(manifest: Manifest, sizes: Mapping[str, int]) -> str:
    """Why files of these sizes cannot be what the manifest names, in a sentence; empty if they may be."""
    for path, entry in manifest.items():
        if path not in sizes:
            return f"{path} is missing, which {NAME} names"
        if sizes[path] != entry.size:
            return f"{path} has {sizes[path]} bytes, and {NAME} says {entry.size}"
    for path in sizes:
        if path not in manifest and path not in (NAME, SIGNATURE):
            return f"{path} is not named in {NAME}"
    return ""


def _entry(path: str, value: Any) -> Entry:
    if "\\" in path or "\0" in path or {"", ".", ".."} & set(path.split("/")):
        raise ManifestInvalid(f"names '{path}', which is no plain path beneath its folder")
    size, sha256 = (value.get("size"), value.get("sha256")) if isinstance(value, dict) else (None, None)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ManifestInvalid(f"gives no size in bytes for {path}")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ManifestInvalid(f"gives no SHA-256 in 64 lower-case hexadecimals for {path}")
    return Entry(size, sha256)
