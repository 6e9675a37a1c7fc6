"""What a remote repository holds, by names, sizes and tags: no content.

Pure. What comes from outside is not trusted here: a name that leads out of its folder is not taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from server.repository.modelfile import NoModelFile, choose_file
from server.repository.rules import is_inside
from server.repository.snapshot import is_ignored, version_of


class RemoteFile(NamedTuple):
    """One object.

    tag         changes when its content does: an ETag, a generation, a SHA-256
    sha256      of its content, where the store tells; else empty
    changed_s   seconds since the epoch, when it was written last; None where the store does not tell
    """

    size: int
    tag: str
    sha256: str = ""
    changed_s: float | None = None


Listing = Mapping[str, RemoteFile]
"""Path beneath a folder, with slashes -> what lies there."""


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """One model's folder: what is beside its versions, and these."""

    beside: dict[str, RemoteFile] = field(default_factory=dict)
    versions: dict[int, dict[str, RemoteFile]] = field(default_factory=dict)


def models_of(listing: Listing) -> dict[str, RemoteModel]:
    """Every model, without the files that are ignored in folders too."""
    found: dict[str, RemoteModel] = {}
    for path, file in listing.items():
        parts = path.split("/")
        if len(parts) < 2 or not is_inside(path) or any(is_ignored(part) for part in parts):
            continue
        model = found.setdefault(parts[0], RemoteModel())
        version = version_of(parts[1])
        if version is None:
            model.beside["/".join(parts[1:])] = file
        elif len(parts) > 2:
            model.versions.setdefault(version, {})["/".join(parts[2:])] = file
    return {name: model for name, model in found.items() if model.versions or model.beside}


def seen_of(files: Listing) -> tuple[tuple[str, int, str], ...]:
    """Equal for two listings of the same content."""
    return tuple(sorted((path, file.size, file.tag) for path, file in files.items()))


def age_s(files: Listing, now_s: float) -> float:
    """How long ago the youngest of them was written, as the store tells; 0 where it does not."""
    times = [file.changed_s for file in files.values()]
    told = [time for time in times if time is not None]
    return now_s - max(told) if told and len(told) == len(times) else 0.0


def holds_a_model(files: Listing) -> bool:
    """Whether a version folder of these files has something to open, as far as names tell."""
    try:
        choose_file(files, None, "")
    except NoModelFile:
        return False
    return True
