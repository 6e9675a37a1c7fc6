"""What lies in a model's folder at one moment: names and stamps, never content.

Taken in one walk; everything that is decided later is decided over this value. Links are
followed, each folder once, so that a circle of links ends. A name that is not UTF-8 could neither be asked
for nor told of: it counts as not there, with a line in the log.
"""

import os
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import structlog

log = structlog.get_logger(__name__)

MOST_FILES = 10_000
"""In one version: more than that is a link to somewhere else, not a model."""

_NOT_OURS = ("~", ".swp", ".swo", ".swx", ".tmp", ".part", ".partial", ".crdownload", ".pyc", "._COPYING_")


NO_FAULTS: Mapping[int, str] = MappingProxyType({})


class FolderUnreadable(Exception):
    """A folder that the operator must look after. `str(error)` says which and why."""


class Stamp(NamedTuple):
    """What changes when a file's content does. Equal stamps: nobody wrote to it in between."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Folder(NamedTuple):
    """A folder with all files beneath it, by their paths relative to it.

    place        where it lies, as text: of ten thousand folders a poll makes these values anew
    changed_ns   the latest ctime of any file or folder beneath it, not counting its own
    """

    place: str
    mtime_ns: int
    ctime_ns: int
    files: Mapping[str, Stamp]
    changed_ns: int

    @property
    def path(self) -> Path:
        return Path(self.place)

    @property
    def stamps(self) -> tuple[tuple[str, Stamp], ...]:
        return tuple(sorted(self.files.items()))


class ModelFolder(NamedTuple):
    """A model's folder.

    beside       everything that is not in a version folder: configuration, labels
    versions     the version folders
    unreadable   version -> why its folder cannot be listed
    """

    beside: Folder
    versions: Mapping[int, Folder]
    unreadable: Mapping[int, str] = NO_FAULTS


@lru_cache(1 << 15)
def is_ignored(name: str) -> bool:
    """Hidden files, what editors and copies leave while they work, notes for people, and names of no text."""
    return (
        name.startswith((".", "#"))
        or not _is_text(name)
        or name.endswith(_NOT_OURS)
        or name in ("__pycache__", "lost+found")
        or name.lower().startswith("readme")
    )


def _is_text(name: str) -> bool:
    """Whether it is UTF-8; the system gives other bytes as halves of surrogate pairs, from U+DC80 on.

    What no file can be called at all is not decided here: a listing from elsewhere may have it.
    """
    if name.isascii():
        return True
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        _say_no_text(raw)
        return False
    return True


@lru_cache(4096)
def _say_no_text(name: bytes) -> None:
    log.warning("name_not_utf8", name=repr(name)[2:-1], outcome="left out; rename it to serve it")


@lru_cache(4096)
def version_of(name: str) -> int | None:
    """The version that a folder of this name holds: a positive integer, written plainly."""
    return int(name) if name.isascii() and name.isdigit() and name[0] != "0" else None


def model_names(repository: Path) -> list[str]:
    """The folders that may be models. Raises `OSError` where the repository itself cannot be listed."""
    with os.scandir(repository) as entries:
        return [entry.name for entry in entries if not is_ignored(entry.name) and entry.is_dir()]


def take_snapshot(directory: Path) -> ModelFolder:
    """List a model's folder. Raises `FolderUnreadable`, or `FileNotFoundError` where it has just gone.

    Every folder is listed and every file asked for its stamp, each time. A folder's own mtime would tell that
    no name in it is new, but not on every mounted object store; and a file is written to without it.
    """
    place = str(directory)
    version_places: dict[int, str] = {}
    others = []
    for entry in _list(place):
        version = version_of(entry.name)
        if version is not None and entry.is_dir():
            version_places[version] = entry.path
        else:
            others.append(entry)
    versions, unreadable = {}, {}
    for version, path in sorted(version_places.items()):
        try:
            versions[version] = _folder(path, _list(path))
        except FolderUnreadable as error:
            unreadable[version] = str(error)
    return ModelFolder(beside=_folder(place, others), versions=versions, unreadable=unreadable)


def _folder(place: str, entries: list[os.DirEntry[str]]) -> Folder:
    facts = os.stat(place)
    files: dict[str, Stamp] = {}
    changed_ns = 0
    been: set[tuple[int, int]] | None = None
    waiting = [("", entries)]
    while waiting:
        prefix, entries = waiting.pop()
        for entry in entries:
            try:
                found = entry.stat()
            except FileNotFoundError:  # gone since it was listed, or a link to nothing
                continue
            except OSError as error:  # a link to itself, or a target that may not be seen
                raise FolderUnreadable(f"{entry.name} cannot be read: {error.strerror}") from error
            name = prefix + entry.name
            changed_ns = max(changed_ns, found.st_ctime_ns)
            if stat.S_ISREG(found.st_mode):
                files[name] = Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
                if len(files) > MOST_FILES:
                    raise FolderUnreadable(
                        f"folder {os.path.basename(place)} holds more than {MOST_FILES} files"
                    )
            elif stat.S_ISDIR(found.st_mode):
                been = been or {(facts.st_dev, facts.st_ino)}
                if (found.st_dev, found.st_ino) not in been:
                    been.add((found.st_dev, found.st_ino))
                    waiting.append((f"{name}/", _list(f"{place}/{name}")))
    return Folder(
        place=place,
        mtime_ns=facts.st_mtime_ns,
        ctime_ns=facts.st_ctime_ns,
        files=files,
        changed_ns=changed_ns,
    )


def _list(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if not is_ignored(entry.name)]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FolderUnreadable(f"folder {os.path.basename(path)} cannot be read: {error.strerror}") from error
