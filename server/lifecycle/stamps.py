"""Whether the files of a version are as they were: what a trial finds is of the files that it met.

Blocks for as long as the file system takes.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from server.domain.offer import VersionOffer

Stamps = Mapping[str, tuple[int, ...]]
"""Path -> what every write or exchange of a file changes."""


def stamps_of(version: VersionOffer) -> Stamps:
    """Of every file in its folder; empty where one that it needs is not there."""
    try:
        stamps = {str(path): _stamp(path) for path in _files(version.directory)}
        needed = (version.model_file, version.pre, version.post, *version.examples)
        return stamps | {str(path): _stamp(path) for path in needed if path is not None}
    except OSError:
        return {}


def are_as_offered(version: VersionOffer, now: Stamps) -> bool:
    """Whether these are the stamps of when its content was read; so where nobody took any.

    A file that does not count, such as a hidden one, makes this false: then only reading the content tells.
    """
    if not version.stamps:
        return True
    whole = {os.path.join(version.directory, name): stamp for name, stamp in version.stamps.items()}
    return whole == now


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        for name in names:
            yield Path(place, name)


def _stamp(path: Path) -> tuple[int, ...]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino
