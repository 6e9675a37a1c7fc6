"""Keeps files of versions that left in the host's memory, so that they come back without reading the disk.

They stay where the kernel has them anyway: in its page cache, shared with other processes and without a copy.
Each file is mapped and, where the process may do that, locked; where it may not, the kernel is asked to read
it and may drop it again when memory is short, which costs time and never memory. Calls block while files
are read: they belong in a thread, one at a time.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.lifecycle.mapped import MappedFile
from server.lifecycle.residency.accountant import Key
from server.lifecycle.residency.host_tier import who_stays

log = structlog.get_logger(__name__)

MOST_FILES = 16_384
"""Kept at a time: a quarter of the maps that Linux lets a process have, where nobody raised that."""

Order = Callable[[Iterable[Key]], Sequence[Key]]
"""`GreedyDual.order`: the first to go first."""


@dataclass(frozen=True, slots=True)
class _Kept:
    size: int
    files: tuple[MappedFile, ...]


class WarmFiles:
    """The files of at most `budget_bytes`, and at most so many; of none with 0."""

    def __init__(self, budget_bytes: int, most_files: int = MOST_FILES) -> None:
        self._budget_bytes = budget_bytes
        self._most_files = most_files
        self._kept: dict[Key, _Kept] = {}
        self._said = False

    @property
    def sizes(self) -> Mapping[Key, int]:
        """Bytes of what is kept; not to be read while another thread is at it."""
        return {key: kept.size for key, kept in self._kept.items()}

    def left(self, key: Key, folder: Path, order: Order) -> None:
        """A version was evicted: keep the files below its folder, if it is worth more than others.

        Files that cannot be listed, as they are being removed perhaps, are not kept.
        """
        if not self._budget_bytes:
            return
        self.drop(key)
        try:
            files = dict(_files(folder))
        except OSError as error:
            log.info("host_cache_passed_over", model=key[0], version=key[1], reason=error.strerror)
            return
        staying = self._who_stays(key, files, order)
        for other in self._kept.keys() - staying:
            self.drop(other)
        if key in staying:
            self._kept[key] = _Kept(sum(files.values()), tuple(self._mapped(files)))

    def drop(self, key: Key) -> None:
        """It is back in memory, or offered no more. Nothing happens to one that is not kept."""
        kept = self._kept.pop(key, None)
        for each in kept.files if kept is not None else ():
            each.close()

    def close(self) -> None:
        for key in list(self._kept):
            self.drop(key)

    def _who_stays(self, key: Key, files: Mapping[Path, int], order: Order) -> frozenset[Key]:
        sizes = {**self.sizes, key: sum(files.values())}
        ordered = order(sizes)
        within = who_stays(sizes, ordered, self._budget_bytes)
        counts = {other: len(kept.files) for other, kept in self._kept.items()} | {key: len(files)}
        ordered = [other for other in ordered if other in within]
        return who_stays({other: max(1, counts[other]) for other in ordered}, ordered, self._most_files)

    def _mapped(self, files: Iterable[Path]) -> Iterator[MappedFile]:
        for path in files:
            with suppress(OSError):  # gone, or emptied
                mapped = MappedFile.of(path)
                if not mapped.lock() and not self._said:
                    self._said = True
                    log.info(
                        "host_cache_not_locked", reason="the limit on locked memory is too low (ulimit -l)"
                    )
                yield mapped


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Those that hold something, with their sizes. Raises `OSError` where a folder cannot be listed."""

    def fail(error: OSError) -> None:
        raise error

    for place, _, names in os.walk(folder, onerror=fail):
        for name in sorted(names):
            path = Path(place, name)
            with suppress(OSError):
                facts = path.stat()
                if stat.S_ISREG(facts.st_mode) and facts.st_size:
                    yield path, facts.st_size
