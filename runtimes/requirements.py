"""What a version's own code needs beyond the server: `requirements.txt`, as pip reads it, one package a line.

It stands in the version's folder, in the model's, or in both. Nothing is installed: a package comes with the
environment of the server, and what is missing there is told before the code runs into it.
"""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from runtimes.errors import ModelBroken

NAME = "requirements.txt"

_HASHES = re.compile(r"\s--hash=\S+")
_COMMENT = re.compile(r"(^|\s)#.*$")


def check(directory: Path) -> None:
    """Of the version in this folder. Raises `ModelBroken`, naming what is missing and where that is said."""
    for folder in (directory, directory.parent):
        try:
            text = (folder / NAME).read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise ModelBroken(f"{NAME} cannot be read: {error}") from error
        wants = list(unmet(text))
        if wants:
            raise ModelBroken(
                f"{NAME} asks for what the server's environment has not: {'; '.join(wants)}. "
                "Packages come with the server's image or environment; nothing is installed at run time"
            )


def unmet(text: str) -> Iterator[str]:
    """What of a file of requirements is not there, in words. Raises `ModelBroken` for a line that is none."""
    for number, line in _lines(text):
        try:
            wanted = Requirement(line)
        except InvalidRequirement as error:
            said = str(error).splitlines()[0]
            raise ModelBroken(
                f"{NAME} line {number}: {line!r} names no package, as in 'pillow>=11': {said}"
            ) from error
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        yield from _unmet(wanted)


def _unmet(wanted: Requirement) -> Iterator[str]:
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        yield f"{wanted.name}{wanted.specifier} is not installed"
        return
    if not wanted.specifier.contains(found, prereleases=True):
        yield f"{wanted.name}{wanted.specifier} is wanted and {found} is installed"


def _lines(text: str) -> Iterable[tuple[int, str]]:
    """Each requirement with the number of its first line; hashes and comments are left out."""
    joined, began = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        began = began or number
        if line.rstrip().endswith("\\"):
            joined += line.rstrip()[:-1] + " "
            continue
        whole = _HASHES.sub("", _COMMENT.sub("", joined + line)).strip()
        if whole:
            yield began, whole
        joined, began = "", 0
