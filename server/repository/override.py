"""A model as a load request brings it: a configuration, and perhaps files, in place of those on disk.

Nothing is ever written into a repository. The caller owns the folder that the files go to and
removes it once the model is no longer served.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from server.domain.configuration import ENABLED
from server.domain.offer import ModelOffer
from server.repository.candidate import Candidate
from server.repository.configuration import read_json
from server.repository.rules import is_inside
from server.repository.seal import NOTHING_DEMANDED, Demand
from server.repository.settling import Moment
from server.repository.snapshot import is_ignored, version_of


class OverrideInvalid(Exception):
    """What a load request brings cannot be used. `str(error)` is a sentence for the caller."""


def override(
    model: str,
    config: str,
    files: Mapping[str, bytes],
    folder: Path,
    directory: Path | None,
    named: frozenset[int] | None = None,
    demand: Demand = NOTHING_DEMANDED,
) -> ModelOffer:
    """Build the offer of `model` from a load request.

    config      the configuration as JSON; it replaces `config.pbtxt`
    files       path beneath the model's folder, such as 1/model.onnx, -> content; where there are any, they
                are the whole model
    folder      where a private folder is made for the files
    directory   the model's folder in a repository, read where no files come; None where it has none
    named       the versions to offer, whatever the version policy says; None for those that it chooses
    demand      what every version must bring, as one in a repository

    Reads and writes files, so it belongs in a thread. Raises `ConfigInvalid` and `OverrideInvalid`.
    """
    if not is_inside(model) or "/" in model:
        raise OverrideInvalid(f"'{model}' cannot be the name of a model")
    reading = read_json(config, model)
    if not reading.config.is_enabled:
        raise OverrideInvalid(f"the configuration says '{ENABLED}': false, so '{model}' cannot be loaded")
    if files:
        for path in files:
            _check(path)
        directory = _written(model, files, folder)
    if directory is None:
        raise OverrideInvalid(f"'{model}' is in no repository, and the request brings no files of it")
    candidate = Candidate(model, directory, "", 0.0, reading, demand)
    look = candidate.look(Moment(0.0, 0.0), named)
    if look.offer is None:
        raise OverrideInvalid(f"the files of '{model}' changed while they were read")
    return look.offer


def _written(model: str, files: Mapping[str, bytes], folder: Path) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="override-", dir=folder)) / model
    try:
        for path, content in files.items():
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    except OSError as error:  # a name too long, one file named as another's folder, a full disk
        shutil.rmtree(directory.parent)
        raise OverrideInvalid(f"the files of '{model}' cannot be written: {error.strerror}") from error
    return directory


def _check(path: str) -> None:
    if not is_inside(path):
        raise OverrideInvalid(f"file '{path}' must be a plain path beneath the model's folder")
    version, _, name = path.partition("/")
    if version_of(version) is None or not name:
        raise OverrideInvalid(f"file '{path}' must be in a version folder, such as 1/model.onnx")
    if any(is_ignored(part) for part in path.split("/")):
        raise OverrideInvalid(f"file '{path}' has a name that is ignored in repositories")
