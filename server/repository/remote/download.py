"""Brings one object from a store into the cache: once for all who want it, and on from where it was cut.

What arrives is written aside and hashed as it comes; only a whole object whose tag has not changed meanwhile
gets its name in the cache. A part stays behind a cut, and the next try goes on with it.
"""

import fcntl
import hashlib
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

from server.repository.remote.cache import ObjectCache
from server.repository.remote.listing import RemoteFile
from server.repository.remote.store import Store, StoreFault

_PIECE = 2**20


class _Turn:
    """Held while one object is brought; others who want it wait."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Downloads:
    """From one store into one cache; for any thread. `name` tells its parts from those of other stores.

    fetched_bytes   that came over the wire so far
    """

    def __init__(self, store: Store, cache: ObjectCache, name: str) -> None:
        self.fetched_bytes = 0
        self._store = store
        self._cache = cache
        self._name = name
        self._lock = threading.Lock()
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()
        self._known: dict[tuple[str, str], str] = {}
        self._stopping = False

    def stop(self) -> None:
        """Let every download end with its next piece."""
        self._stopping = True

    def knows(self, path: str, file: RemoteFile) -> str:
        """The SHA-256 of an object, as the store or an earlier download told; empty where neither did."""
        return file.sha256 or self._known.get((path, file.tag), "")

    def learn(self, path: str, tag: str, sha256: str) -> None:
        """What an earlier process found out."""
        self._known[path, tag] = sha256

    def forget_all_but(self, listed: Collection[tuple[str, str]]) -> None:
        """Of (path, tag) pairs that are listed no more nothing need be known."""
        self._known = {key: sha256 for key, sha256 in list(self._known.items()) if key in listed}

    def bring(self, path: str, file: RemoteFile, likely: str = "") -> str:
        """Have an object in the cache; its SHA-256. `likely` is what a manifest says that it is.

        Raises `StoreFault`, `CacheFull` and `OSError`.
        """
        expected = self.knows(path, file)
        with self._turn(f"{path}\n{file.tag}"):
            for sha256 in filter(None, (self.knows(path, file), likely)):
                if self._cache.has(sha256):
                    return sha256
            with self._cache.room(file.size):
                sha256 = self._fetch(path, file, expected)
            self._known[path, file.tag] = sha256
            return sha256

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        with self._lock:
            turn = self._turns.setdefault(key, _Turn())
        with turn.lock:
            yield

    def _fetch(self, path: str, file: RemoteFile, expected: str) -> str:
        key = hashlib.sha256(f"{self._name}\n{path}\n{file.tag}".encode()).hexdigest()
        with _part(self._cache.partial / key) as (part, output):
            digest = hashlib.sha256()
            at = 0
            while piece := output.read(_PIECE):  # what came before a cut
                digest.update(piece)
                at += len(piece)
            if at > file.size:
                digest, at = _from_the_beginning(output)
            for begins, chunk in self._store.read(path, at, file.size) if at < file.size else ():
                if self._stopping:
                    raise StoreFault(f"{path} is fetched no further, as the server stops")
                if begins != at:
                    digest, at = _from_the_beginning(output)
                output.write(chunk)
                digest.update(chunk)
                at += len(chunk)
                with self._lock:
                    self.fetched_bytes += len(chunk)
            output.flush()
            if at < file.size:
                raise StoreFault(f"{path} ended after {at} of {file.size} bytes")
            sha256 = digest.hexdigest()
            self._check(path, file, at, sha256, expected, part)
            os.fsync(output.fileno())
            self._cache.keep(part, sha256)
        return sha256

    def _check(self, path: str, file: RemoteFile, at: int, sha256: str, expected: str, part: Path) -> None:
        why = ""
        if at > file.size:
            why = f"has more than its {file.size} bytes"
        elif expected and sha256 != expected:
            why = f"has the SHA-256 {sha256[:12]}…, and should have {expected[:12]}…"
        elif not expected and self._store.tag(path) not in (None, file.tag):
            why = "changed while it was fetched"
        if why:
            part.unlink(missing_ok=True)
            raise StoreFault(f"{path} {why}")


def _from_the_beginning(output: BinaryIO) -> tuple[Any, int]:
    output.seek(0)
    output.truncate()
    return hashlib.sha256(), 0


@contextmanager
def _part(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A file that only we write: another process that fetches the same makes one of its own."""
    output = path.open("a+b")
    try:
        try:
            fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            output.close()
            path = path.with_name(f"{path.name}.{os.getpid()}")
            output = path.open("a+b")
        output.seek(0)
        yield path, output
    finally:
        output.close()
        with suppress(OSError):
            if path.stat().st_size == 0:
                path.unlink()
