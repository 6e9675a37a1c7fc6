"""Labels: names for versions of a model, such as stable and canary, by which requests may name a version.

A label points at a number, whatever its content. It is no number itself, so nothing that is asked by number
can mean a label.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

MOST_LABELS = 64
"""Of one model."""

LARGEST_VERSION = 10**18 - 1
SYNTAX = "a letter, and then letters, digits, '.', '_' or '-': 64 in all at most"

_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")

NO_PINS: Mapping[str, int] = MappingProxyType({})


def is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


class Source(StrEnum):
    """Who said it."""

    CALL = "call"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a model. `serves` tells whether its version does."""

    name: str
    version: int
    source: Source
    serves: bool


def in_force(declared: Mapping[str, int], said: Mapping[str, int]) -> dict[str, int]:
    """Label -> version: what calls have said goes before what a file says."""
    return {**declared, **said}
