"""Tells content apart: equal fingerprints mean that there is nothing to load anew.

A file is read once and then known by its stamp, so a touched or restarted-over file of the same content
costs one more read and no reload.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from server.repository.snapshot import Stamp


class ContentMoved(Exception):
    """A file changed, or went, while it was read: it is not at rest."""


class Fingerprints:
    """The digests of one model's files, for one caller at a time."""

    def __init__(self) -> None:
        self._digests: dict[tuple[Path, Stamp], bytes] = {}
        self._used: set[tuple[Path, Stamp]] = set()

    def of(self, root: Path, files: Mapping[str, Stamp]) -> str:
        """The fingerprint of these names with their contents. Raises `ContentMoved`."""
        whole = hashlib.sha256()
        for name, stamp in sorted(files.items()):
            whole.update(hashlib.sha256(name.encode(errors="surrogateescape")).digest())
            whole.update(self.digest(root / name, stamp))
        return whole.hexdigest()

    def digest(self, path: Path, stamp: Stamp) -> bytes:
        """The SHA-256 of one file. Raises `ContentMoved`."""
        key = (path, stamp)
        if key not in self._digests:
            self._digests[key] = _read(path, stamp)
        self._used.add(key)
        return self._digests[key]

    def forget_unused(self) -> None:
        """Drop what was not asked for since this was last called."""
        self._digests = {key: digest for key, digest in self._digests.items() if key in self._used}
        self._used = set()


def _read(path: Path, stamp: Stamp) -> bytes:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            after = os.fstat(file.fileno())
    except FileNotFoundError as error:
        raise ContentMoved(str(path)) from error
    if (after.st_size, after.st_mtime_ns, after.st_ctime_ns, after.st_ino) != (
        stamp.size,
        stamp.mtime_ns,
        stamp.ctime_ns,
        stamp.inode,
    ):
        raise ContentMoved(str(path))
    return digest
