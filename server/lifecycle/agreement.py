"""Says where two answers part that are to be the same, and by how much. Pure.

Numbers are held against each other as float64, text and truth values exactly. NaN agrees with NaN, and
an infinity with itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from server.domain.tensors import Array


@dataclass(frozen=True, slots=True)
class Parting:
    """The place where two arrays of one shape differ most.

    by   how far apart the two numbers are; infinite where one is no finite number, or is text
    """

    place: tuple[int, ...]
    expected: Any
    found: Any
    by: float

    def __str__(self) -> str:
        return f"{shown(self.found)} at {list(self.place)} where {shown(self.expected)} was expected"


def parting(expected: Array, found: Array, allowed: Callable[[Array], Array | float]) -> Parting | None:
    """The worst place of two arrays of one shape; None where they agree.

    `allowed` is given the expected numbers and says how far off each may be.
    """
    if not _numeric(expected) or not _numeric(found):
        return _worst(expected, found, np.where(expected != found, np.inf, 0.0))
    wanted, got = expected.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(wanted - got)
        same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
        off = np.where(same, 0.0, np.where(np.isnan(off), np.inf, off))
        beyond = off > allowed(wanted)
    return _worst(expected, found, np.where(beyond & ~same, off, 0.0))


def difference(expected: Array, found: Array | None, tolerance: float) -> str:
    """What is wrong with an output of an example, to follow its name; empty where nothing is."""
    if found is None:
        return "is not among the outputs"
    if found.dtype != expected.dtype:
        return f"is {found.dtype} where {expected.dtype} was expected"
    if found.shape != expected.shape:
        return f"has shape {list(found.shape)} where {list(expected.shape)} was expected"
    part = parting(expected, found, within(tolerance))
    return "" if part is None else f"is {part} (tolerance {tolerance:g})"


def within(tolerance: float) -> Callable[[Array], Array]:
    """As far off as this, absolutely and relatively to the number that is expected."""
    return lambda expected: tolerance + tolerance * np.abs(np.nan_to_num(expected, posinf=0.0, neginf=0.0))


def _worst(expected: Array, found: Array, off: Array) -> Parting | None:
    if not off.size or not off.any():
        return None
    place = np.unravel_index(int(np.argmax(off)), off.shape)
    return Parting(tuple(int(each) for each in place), expected[place], found[place], float(off[place]))


def _numeric(array: Array) -> bool:
    return not array.dtype.hasobject and array.dtype != np.bool_


def shown(element: Any) -> str:
    """One element, as a person reads it in a sentence."""
    if isinstance(element, bytes):
        return repr(element.decode(errors="replace")[:40])
    if isinstance(element, (bool, np.bool_, int, np.integer)):
        return str(element)
    return f"{float(element):.6g}"
