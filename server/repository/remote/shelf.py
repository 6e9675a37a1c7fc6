"""The local folder of a remote repository: models whose files are hard links into the cache.

Everything is made aside and comes to its place by one rename, so that whoever looks sees a version whole or
not at all. One caller at a time for each model.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TextIO

from server.repository.remote.cache import ObjectCache, Stamp, stamp_of

Sums = Mapping[str, str]
"""Path beneath a folder -> the SHA-256 of what lies there."""

Placed = dict[str, tuple[str, Stamp]]
"""The same, with the stamp of the object that was linked."""


class NoHardLinks(Exception):
    """The file system of the cache cannot do what this stands on. `str(error)` is a sentence."""


class Shelf:
    """Owns its folder: it is made anew, and nobody else writes to it."""

    def __init__(self, cache: ObjectCache, name: str) -> None:
        """`name` is that of the repository. Raises `NoHardLinks`."""
        self._cache = cache
        folder, self._held = _own_folder(cache.folder / "mirrors", name)
        self.path = folder / "models"
        self._aside = folder / "aside"
        self._serial = count()
        for each in (self.path, self._aside):
            each.mkdir(parents=True)
        try:
            os.link(self._held.name, self._aside / "probe")
        except OSError as error:
            raise NoHardLinks(
                f"the model cache {cache.folder} is on a file system without hard links ({error.strerror}); "
                "name another place with --model-cache-dir"
            ) from None
        (self._aside / "probe").unlink()

    def close(self) -> None:
        """Leave everything where it is, for whoever still reads it; the next process clears it away."""
        self._held.close()

    @contextmanager
    def holding(self) -> Iterator[Callable[[str], None]]:
        """What the function is called with is not evicted before the block is left."""
        folder = self._new()

        def hold(sha256: str) -> None:
            """Raises `FileNotFoundError` where it has been evicted already."""
            with suppress(FileExistsError):
                self._cache.link(sha256, folder / sha256)

        try:
            yield hold
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put_model(
        self, model: str, beside: Sums, versions: Mapping[int, Sums]
    ) -> tuple[Placed, dict[int, Placed]]:
        """A model that is not here yet."""
        made = self._new()
        placed = {version: self._link(made / str(version), sums) for version, sums in versions.items()}
        placed_beside = self._link(made, beside)
        self._move_in(made, self.path / model)
        return placed_beside, placed

    def put_version(self, model: str, version: int, sums: Sums) -> Placed:
        """A version that is not here yet, or that was written anew at its source."""
        made = self._new()
        placed = self._link(made, sums)
        self._move_in(made, self.path / model / str(version))
        return placed

    def put_beside(self, model: str, sums: Sums, before: Placed) -> Placed:
        """What lies beside the versions: each file in one step, and away with what is listed no more."""
        made = self._new()
        placed = self._link(made, sums)
        for path in sums:
            target = self.path / model / path
            if path in before and before[path] == placed[path] == (sums[path], stamp_of(target)):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(made / path, target)
        for path in before.keys() - placed.keys():
            (self.path / model / path).unlink(missing_ok=True)
        shutil.rmtree(made, ignore_errors=True)
        return placed

    def take_away(self, model: str, version: int | None = None) -> None:
        gone = self._new()
        place = self.path / model if version is None else self.path / model / str(version)
        with suppress(FileNotFoundError):
            os.rename(place, gone / "gone")
        shutil.rmtree(gone, ignore_errors=True)

    def is_intact(self, model: str, beside: Placed, versions: Mapping[int, Placed]) -> bool:
        """Whether what was linked is still what it was: a stamp that changed is somebody else's write."""
        folders = {"": beside} | {f"{version}/": placed for version, placed in versions.items()}
        return all(
            stamp_of(self.path / model / f"{prefix}{path}") == stamp
            for prefix, placed in folders.items()
            for path, (_, stamp) in placed.items()
        )

    def _new(self) -> Path:
        made = self._aside / str(next(self._serial))
        made.mkdir()
        return made

    def _link(self, folder: Path, sums: Sums) -> Placed:
        folder.mkdir(exist_ok=True)
        return {path: (sha256, self._cache.link(sha256, folder / path)) for path, sha256 in sums.items()}

    def _move_in(self, made: Path, place: Path) -> None:
        with suppress(FileNotFoundError):
            os.rename(place, self._aside / f"{made.name}-before")
        os.rename(made, place)
        shutil.rmtree(self._aside / f"{made.name}-before", ignore_errors=True)


def _own_folder(mirrors: Path, name: str) -> tuple[Path, TextIO]:
    """A folder that no process uses, and the lock on it; the lock goes with the process, however that ends.

    What processes that are gone have left is cleared away, as it keeps objects from being evicted.
    """
    mirrors.mkdir(exist_ok=True)
    own: tuple[Path, TextIO] | None = None
    for number in count():
        lock = _locked(mirrors / f"{name}.{number}.lock")
        if lock is not None:
            own = mirrors / f"{name}.{number}", lock
            break
    assert own is not None
    shutil.rmtree(own[0], ignore_errors=True)
    for left in mirrors.glob("*.lock"):
        lock = _locked(left)
        if lock is not None:
            shutil.rmtree(left.with_suffix(""), ignore_errors=True)
            lock.close()
    return own


def _locked(path: Path) -> TextIO | None:
    """A lock file that we hold; None where another does, be it this process by another handle."""
    lock = path.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock
