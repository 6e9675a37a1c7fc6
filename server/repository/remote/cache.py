"""Objects on the disk of this node, each named by the SHA-256 of its content, and bounded in size.

    objects/ab/abcd...   the content, read-only; who uses it holds a hard link to it
    partial/...          what is being fetched

A hard link is the proof of use: an object with a second name is in use by somebody, be it another server on
this node, and is not evicted. The file system counts, so a crash leaves no count wrong. An object is read
against its name before its first use in a process, and again when its stamp has changed.
"""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

log = structlog.get_logger()

_READ_ONLY = 0o444
_STALE_S = 86_400.0

Stamp = tuple[int, int, int]
"""Size, mtime in ns, inode: what a new link does not change, and a new content does."""


class CacheFull(Exception):
    """There is no room, and nothing that may go. `str(error)` has the arithmetic."""


def stamp_of(path: Path) -> Stamp | None:
    """None where there is no such file."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


class ObjectCache:
    """Safe to call from any thread, and beside other processes over the same folder.

    max_bytes   of all objects together, those in use included
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.partial = folder / "partial"
        self._objects = folder / "objects"
        self._lock = threading.Lock()
        self._promised = 0
        self._kept = 0
        self._verified: dict[str, Stamp] = {}
        for each in (self._objects, self.partial):
            each.mkdir(parents=True, exist_ok=True)
        self._kept = self.held_bytes()
        self._sweep()

    def has(self, sha256: str) -> bool:
        """Whether this content is here, and is what its name says. One that is not is taken away."""
        path = self._path(sha256)
        stamp = stamp_of(path)
        if stamp is None:
            return False
        if self._verified.get(sha256) == stamp:
            return True
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            log.warning("cached_object_unreadable", object=sha256, reason=error.strerror)
            found = ""
        if found == sha256:
            self._verified[sha256] = stamp
            return True
        log.warning("cached_object_corrupt", object=sha256, bytes=stamp[0])
        self._verified.pop(sha256, None)
        path.unlink(missing_ok=True)
        return False

    def content(self, sha256: str) -> bytes:
        """Of a small object that `has` found. Raises `OSError`."""
        return self._path(sha256).read_bytes()

    def link(self, sha256: str, target: Path) -> Stamp:
        """Give an object that `has` found a second name. Raises `OSError`, also where it has gone since."""
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(self._path(sha256), target)
        facts = target.stat()
        return facts.st_size, facts.st_mtime_ns, facts.st_ino

    def keep(self, fetched: Path, sha256: str) -> None:
        """Take a fetched file over; its content was read into `sha256` by the caller."""
        fetched.chmod(_READ_ONLY)
        path = self._path(sha256)
        path.parent.mkdir(exist_ok=True)
        fetched.replace(path)
        stamp = stamp_of(path)
        if stamp is not None:
            self._verified[sha256] = stamp
            with self._lock:
                self._kept += stamp[0]

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Hold room for an object that is being fetched; evicts what is needed for it. Raises `CacheFull`."""
        with self._lock:
            self._make_room(size)
            self._promised += size
        try:
            yield
        finally:
            with self._lock:
                self._promised -= size

    def held_bytes(self) -> int:
        return sum(facts.st_size for _, facts in self._all())

    def _sweep(self) -> None:
        """Parts that nobody has gone on with for long."""
        for part in self.partial.iterdir():
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > _STALE_S:
                    part.unlink()

    def _make_room(self, size: int) -> None:
        """Least recently used first; a link that is made or taken away changes the ctime, which tells."""
        if self._kept + self._promised + size <= self.max_bytes:
            return
        objects = list(
            self._all()
        )  # counted anew: others use this folder too, and the same may be kept twice
        self._kept = sum(facts.st_size for _, facts in objects)
        over = self._kept + self._promised + size - self.max_bytes
        unlinked = ((path, facts) for path, facts in objects if facts.st_nlink == 1)
        idle = sorted((facts.st_ctime_ns, path, facts.st_size) for path, facts in unlinked)
        may_go = sum(each for _, _, each in idle)
        if over > may_go:
            in_use = self._kept - may_go
            raise CacheFull(
                f"needs {size} bytes of a model cache of {self.max_bytes}: {in_use} are in use, "
                f"{self._promised} are being fetched; raise --model-cache-bytes"
            )
        for _, path, bytes_ in idle:
            if over <= 0:
                return
            with suppress(OSError):
                if path.stat().st_nlink == 1:  # nobody has begun to use it since
                    path.unlink()
                    self._verified.pop(path.name, None)
                    self._kept -= bytes_
                    over -= bytes_
                    log.info("cached_object_evicted", object=path.name, bytes=bytes_)

    def _all(self) -> Iterator[tuple[Path, os.stat_result]]:
        for group in os.scandir(self._objects):
            for entry in os.scandir(group):
                with suppress(OSError):
                    yield Path(entry.path), entry.stat()

    def _path(self, sha256: str) -> Path:
        return self._objects / sha256[:2] / sha256
