"""Tells content apart: equal fingerprints mean that there is nothing to load anew.

A file is read once and then known by its stamp, so a touched or restarted-over file of the same content
costs one more read and no reload.
"""

import hashlib
import os
from collections.abc import Mapping
from io import BufferedReader

from server.repository.snapshot import Stamp

SMALL = 64 * 1024
"""Bytes up to which a file is read in one piece."""


class ContentMoved(Exception):
    """A file changed, or went, while it was read: it is not at rest."""


class Fingerprints:
    """The digests of one model's files, for one caller at a time."""

    def __init__(self) -> None:
        self._digests: dict[tuple[str, Stamp], bytes] = {}
        self._used: set[tuple[str, Stamp]] = set()

    def of(self, root: str, files: Mapping[str, Stamp]) -> str:
        """The fingerprint of these names with their contents. Raises `ContentMoved`."""
        whole = hashlib.sha256()
        for name, stamp in sorted(files.items()):
            whole.update(hashlib.sha256(name.encode(errors="surrogateescape")).digest())
            whole.update(self.digest(f"{root}/{name}", stamp))
        return whole.hexdigest()

    def digest(self, path: str, stamp: Stamp) -> bytes:
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


def _read(path: str, stamp: Stamp) -> bytes:
    try:
        with open(path, "rb") as file:
            digest = _digest(file, stamp.size)
            after = os.fstat(file.fileno())
    except FileNotFoundError as error:
        raise ContentMoved(path) from error
    if (after.st_size, after.st_mtime_ns, after.st_ctime_ns, after.st_ino) != (
        stamp.size,
        stamp.mtime_ns,
        stamp.ctime_ns,
        stamp.inode,
    ):
        raise ContentMoved(path)
    return digest


def _digest(file: BufferedReader, size: int) -> bytes:
    """`file_digest` lays out a quarter of a MiB for each file: of a small one, more than the rest takes."""
    if size <= SMALL:
        return hashlib.sha256(file.read(SMALL)).digest()  # one that grows meanwhile is another content
    return hashlib.file_digest(file, "sha256").digest()
