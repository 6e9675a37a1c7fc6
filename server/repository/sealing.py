"""Writes manifests and indexes: what `tercet manifest` does to folders that are to be served.

Blocks while it reads every file. A text is written aside and put in place in one step.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from server.repository.manifest import INDEX, NAME, SIGNATURE, Entry, write_manifest
from server.repository.signature import sign
from server.repository.snapshot import is_ignored, version_of


class NothingToSeal(Exception):
    """A folder that is neither a version, nor a model, nor a repository. `str(error)` says so."""


def seal(folder: Path, key: Path | None = None) -> list[Path]:
    """Write the manifest of a version, or of every version of a model or a repository; what was written.

    `key` is a private key (Ed25519, PEM) to sign with. Raises `NothingToSeal`, `KeyUnusable` and `OSError`.
    """
    versions = sorted(_versions(folder))
    if not versions:
        raise NothingToSeal(f"{folder} is no version folder, and holds none: one that is named 1, 2 or so on")
    written = []
    for version in versions:
        content = write_manifest(_entries(version, but={NAME, SIGNATURE}))
        signature = sign(key, content) if key is not None else None
        _replace(version / NAME, content)
        written.append(version / NAME)
        if signature is not None:
            _replace(version / SIGNATURE, signature)
            written.append(version / SIGNATURE)
        else:
            (version / SIGNATURE).unlink(missing_ok=True)  # of what was there before: it would not fit
    return written


def write_index(repository: Path) -> Path:
    """Write `index.json` of a repository, as servers that read it over HTTP need it. Raises `OSError`."""
    _replace(repository / INDEX, write_manifest(_entries(repository, but={INDEX})))
    return repository / INDEX


def _versions(folder: Path) -> Iterator[Path]:
    if version_of(folder.absolute().name) is not None:
        yield folder
        return
    for pattern in ("*", "*/*"):
        for path in folder.glob(pattern):
            if version_of(path.name) is not None and path.is_dir() and not is_ignored(path.parent.name):
                yield path


def _entries(folder: Path, but: set[str]) -> dict[str, Entry]:
    entries = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in but and not any(is_ignored(part) for part in name.split("/")):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                entries[name] = Entry(os.fstat(file.fileno()).st_size, digest)
    return entries


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(content)
    aside.replace(path)
