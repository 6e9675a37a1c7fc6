"""Which file of a version folder the runtime opens, and what kind of model that makes it."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import PurePosixPath

from server.domain.configuration import Platform

NAMES: Mapping[Platform, str] = {
    Platform.ONNX: "model.onnx",
    Platform.TORCHSCRIPT: "model.pt",
    Platform.PYTHON: "model.py",
    Platform.SLEEPING: "model.sleep",
}
"""The usual name for each platform."""

_PLATFORM_OF_SUFFIX = {PurePosixPath(name).suffix: platform for platform, name in NAMES.items()}
_ANY_NAME = (Platform.ONNX, Platform.TORCHSCRIPT, Platform.SLEEPING)
"""Where one file of this suffix will do, whatever it is called: a folder may hold more .py files."""


class NoModelFile(Exception):
    """A version folder that cannot be served. `str(error)` says what is missing or unclear."""


@lru_cache(4096)
def platform_of_file(name: str) -> Platform | None:
    """The platform that a file's suffix tells; None for a suffix that belongs to none."""
    return _PLATFORM_OF_SUFFIX.get(PurePosixPath(name).suffix)


def choose_file(names: Collection[str], platform: Platform | None, default_name: str) -> str:
    """Choose among the files of a version folder.

    platform       as configured, or None where the file is to tell
    default_name   `default_model_filename`, or empty

    Raises `NoModelFile`.
    """
    name = _named(names, default_name) if default_name else _found(names, platform)
    told = platform_of_file(name)
    if platform is not None and told is not None and told is not platform:
        raise NoModelFile(f"{name} is a file for the platform {told}, but the configuration says {platform}")
    if platform is None and told is None:
        raise NoModelFile(f"{name} does not tell its platform; write platform: in config.pbtxt")
    return name


def _named(names: Collection[str], default_name: str) -> str:
    if default_name not in names:
        raise NoModelFile(f"the version folder holds no {default_name}, which default_model_filename names")
    return default_name


def _found(names: Collection[str], platform: Platform | None) -> str:
    wanted = [platform] if platform else list(NAMES)
    usual = [NAMES[kind] for kind in wanted if NAMES.get(kind) in names]
    others = [
        name
        for name in sorted(names)
        if "/" not in name and platform_of_file(name) in wanted and platform_of_file(name) in _ANY_NAME
    ]
    for candidates in (usual, others):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise NoModelFile(
                f"the version folder holds {' and '.join(candidates)}; "
                "name one as default_model_filename in config.pbtxt"
            )
    likely = [platform] if platform else [kind for kind in NAMES if kind is not Platform.SLEEPING]
    expected = " or ".join(NAMES[kind] for kind in likely if kind in NAMES)
    elsewhere = [name for name in names if platform_of_file(name) and "/" not in name]
    beside = f", though it holds {sorted(elsewhere)[0]}" if platform and elsewhere else ""
    raise NoModelFile(f"the version folder holds no {expected}{beside}")
