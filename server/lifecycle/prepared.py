"""Keeps what a runtime has made of model files, by content: for the next time that one is to be opened.

One folder for each content, runtime and processor, which appears whole, by rename, and has a `made.json`
with the stamp and the SHA-256 of every file in it. A file is opened if it is as when its sum was taken;
if its stamp differs it is read, and if its content does, the folder goes. Several servers may share
the place. Its methods block for as long as the file system takes, and are safe from any thread.
"""

import hashlib
import json
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

import structlog

from runtimes.onnx_preparing import GRAPH
from runtimes.processors import processor_kind
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.residency.amount import amount
from server.lifecycle.verdict import key, surroundings

log = structlog.get_logger(__name__)

PREPARATION = 1
"""Raised whenever models are prepared otherwise than before."""

MADE = "made.json"
HALF = ".half-"
"""How the name of a folder begins that is being written."""

LEFT_BEHIND_S = 3600.0
"""What is being written for longer than that was left behind by a server that has gone."""

SPARED_SHARE = 0.1
"""Of a disk: so much stays free."""


class NotKept(Exception):
    """There is no room for it; the sentence says where."""


class PreparedModels:
    """What is made of models, in a folder of the server's own, with at most so many bytes in it."""

    def __init__(self, folder: Path, most_bytes: int, *, auto_complete: bool = True) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._around = surroundings(auto_complete)
        self._lock = threading.Lock()

    def name_of(self, offer: ModelOffer, version: VersionOffer) -> str:
        """Of everything that what is made hangs on."""
        told = [key(offer, version, self._around), PREPARATION, processor_kind()]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def find(self, name: str) -> Path | None:
        """The file to be opened, if all in its folder is as it was written."""
        folder = self._folder / name
        if not folder.is_dir():
            return None
        try:
            is_as_written, is_whole = _compare(folder)
            if not is_whole:
                raise ValueError("its files are not those that were written")
            with suppress(OSError):  # of another owner's, perhaps
                os.utime(folder / MADE)  # used just now
                if not is_as_written:  # copied, say: it need not be read again
                    seal(folder)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("prepared_model_unreadable", folder=name[:12], reason=str(error))
            self.drop(name)
            return None
        return folder / GRAPH

    def begin(self, needed_bytes: int, *, displacing: bool = True) -> Path:
        """An empty folder to prepare something of about that size in. Raises `NotKept` and `OSError`.

        Unless `displacing`, there has to be room for it beside all that is kept.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        needs = f"it needs some {amount(needed_bytes)}"
        if needed_bytes > self._most_bytes:
            raise NotKept(f"{needs}, and --prepared-models-bytes is {amount(self._most_bytes)}")
        kept_bytes = 0 if displacing else sum(size for _, _, size in self._kept())
        if kept_bytes + needed_bytes > self._most_bytes:
            raise NotKept(f"{needs}, and {amount(kept_bytes)} of {amount(self._most_bytes)} are taken")
        disk = shutil.disk_usage(self._folder)
        if disk.free - needed_bytes < SPARED_SHARE * disk.total:
            raise NotKept(f"{needs}, and {amount(disk.free)} are free where the state folder lies")
        return Path(tempfile.mkdtemp(prefix=HALF, dir=self._folder))

    def keep(self, name: str, made: Path) -> None:
        """What was begun is done, and sealed; the least recently used goes to make room. Raises `OSError`."""
        with self._lock:
            try:
                made.rename(self._folder / name)
            except OSError:
                shutil.rmtree(made, ignore_errors=True)
                if not (self._folder / name).is_dir():  # else another server was first
                    raise
            self._thin_out()

    def drop(self, name: str) -> None:
        """It is of no use. What is mapped of it stays until it is closed."""
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def _kept(self) -> list[tuple[int, Path, int]]:
        """When each was used last, in ns, its folder and its bytes."""
        kept = []
        for made in self._folder.glob(f"[!.]*/{MADE}"):
            with suppress(OSError):  # another server thins out too
                kept.append((made.stat().st_mtime_ns, made.parent, _bytes_in(made.parent)))
        return kept

    def _thin_out(self) -> None:
        kept = self._kept()
        total = sum(size for _, _, size in kept)
        for _, folder, size in sorted(kept):
            if total <= self._most_bytes:
                break
            shutil.rmtree(folder, ignore_errors=True)
            total -= size

    def _sweep(self) -> None:
        for half in self._folder.glob(f"{HALF}*"):
            with suppress(OSError):
                if time() - half.stat().st_mtime > LEFT_BEHIND_S:
                    shutil.rmtree(half, ignore_errors=True)


def seal(folder: Path) -> None:
    """Have all that was written there on the disk, and say what it is. Raises `OSError`."""
    told = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(MADE):
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
            told[path.name] = {
                "stamp": _stamp(path),
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            }
    half = folder / f"{MADE}.{os.getpid()}"
    half.write_text(json.dumps(told), encoding="utf-8")
    half.replace(folder / MADE)


def _compare(folder: Path) -> tuple[bool, bool]:
    """Whether its files have the stamps of when it was sealed, and whether their content is the same.

    Raises what reading the folder does, and what reading of what is no seal does.
    """
    told: dict[str, dict[str, Any]] = json.loads((folder / MADE).read_bytes())
    touched = [name for name, facts in told.items() if _stamp(folder / Path(name).name) != facts["stamp"]]
    for name in touched:
        with (folder / Path(name).name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != told[name]["sha256"]:
                return False, False
    return not touched, bool(told)


def _stamp(path: Path) -> list[int]:
    """What every write or exchange of a file changes."""
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
