"""What becomes of a model's worker process while it serves, for whoever keeps the index."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Down:
    """It has ended, and is started again after so many seconds; `why` is a sentence."""

    why: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class Up:
    """It is there again, with every model open."""


@dataclass(frozen=True, slots=True)
class Out:
    """It is not started again by itself; `why` is a sentence. The session fails every run from now on."""

    why: str


News = Down | Up | Out
Tell = Callable[[News], None]
"""Called on a thread of the worker's keeper; must not block."""
