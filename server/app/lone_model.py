"""A folder that is one model's, shown as a repository that has it under a given name.

KServe puts what an InferenceService names into one folder: a whole repository, one model's folder with its
versions in it, or nothing but the model's file. The last two have no name of their own.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path, PurePath

import structlog

from server.app.refused import StartRefused
from server.domain.configuration import Platform
from server.repository.modelfile import platform_of_file
from server.repository.snapshot import is_ignored, version_of

log = structlog.get_logger(__name__)


class Shape(Enum):
    """What a folder is."""

    REPOSITORY = "folders of models, or nothing yet"
    MODEL = "version folders"
    VERSION = "a model's file"


def shape_of(paths: Iterable[PurePath]) -> Shape:
    """Of the files in a folder and in the folders in it, relative to it.

    A folder called 1 may also be a model's: then it holds version folders, and no file of a model. A model in
    Python would be a guess, as `.py` files lie in many folders.
    """
    models = [path for path in paths if platform_of_file(path.name) not in (None, Platform.PYTHON)]
    if any(len(path.parts) == 2 and version_of(path.parts[0]) is not None for path in models):
        return Shape.MODEL
    if any(len(path.parts) == 1 for path in models):
        return Shape.VERSION
    return Shape.REPOSITORY


@contextmanager
def named(folder: Path, name: str) -> Iterator[Path]:
    """The folder itself where it is a repository; else one made of links, in which it is model `name`.

    Without a name it is left as it is, with a warning. Raises `StartRefused` where links cannot be made.
    """
    try:
        files = list(_files(folder))
    except OSError:  # the scanner waits for it, and says so
        files = []
    shape = shape_of(files)
    if shape is Shape.REPOSITORY or not name:
        if shape is not Shape.REPOSITORY:
            log.warning(
                "repository_is_one_model",
                repository=str(folder),
                holds=shape.value,
                outcome="not served; name the folder above it, or the model by --model-name",
            )
        yield folder
        return
    if is_ignored(name) or PurePath(name).name != name:
        raise StartRefused(f"--model-name is {name!r}, which no folder of a model can be called")
    try:
        temporary = tempfile.TemporaryDirectory(prefix="tercet-model-")
    except OSError as error:
        raise StartRefused(
            f"--model-name needs a folder for temporary files: mount a writable /tmp, or set TMPDIR ({error})"
        ) from None
    with temporary as place:
        made = Path(place) / name
        if shape is Shape.MODEL:
            made.symlink_to(folder.resolve())
        else:
            made.mkdir()
            (made / "1").symlink_to(folder.resolve())
            for file in files:
                if len(file.parts) == 1:  # the configuration and what it names belong beside the versions
                    (made / file).symlink_to((folder / file).resolve())
        yield Path(place)


def _files(folder: Path) -> Iterator[PurePath]:
    """The files in a folder and in those of its folders that may be versions, relative to it."""
    with os.scandir(folder) as entries:
        seen = [entry for entry in entries if not is_ignored(entry.name)]
    for entry in seen:
        if entry.is_file():
            yield PurePath(entry.name)
        elif version_of(entry.name) is not None and entry.is_dir():
            yield from (PurePath(entry.name, inner) for inner in sorted(os.listdir(entry.path)))
