"""The stations of a model version, and the moves between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """As the repository index of Triton and KServe names them."""

    UNKNOWN = "UNKNOWN"
    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


LEGAL: Mapping[State, frozenset[State]] = {
    State.UNKNOWN: frozenset({State.LOADING, State.UNAVAILABLE}),
    State.LOADING: frozenset({State.LOADING, State.READY, State.UNAVAILABLE}),
    State.READY: frozenset({State.UNLOADING, State.READY}),
    State.UNLOADING: frozenset({State.UNAVAILABLE, State.LOADING}),
    State.UNAVAILABLE: frozenset({State.LOADING, State.UNAVAILABLE}),
}
"""From each state, where a version may go; UNKNOWN is one that the index does not have.

LOADING to LOADING is the end of its verification, READY to READY a swap to new content of one version,
UNLOADING to LOADING one that is wanted again before its last requests are answered.
"""


class IllegalMove(Exception):
    """A fault of ours: a version was to go where `LEGAL` does not let it."""


UNLOADED = "unloaded"
"""The reason of a version that is unavailable because somebody wanted it so."""

VERIFYING = "verifying"
"""The reason of a version that is being loaded, while it is tried in a process of its own."""


@dataclass(frozen=True, slots=True)
class Status:
    """One line of the repository index.

    version   None for a model that was never tried
    reason    empty when READY; `UNLOADED`, `VERIFYING`, or the sentence of what failed
    loaded    of one that is READY: whether it is in memory, or will be once it is asked for
    since     seconds since the epoch, when this state began
    """

    model: str
    version: int | None
    state: State
    reason: str = ""
    since: float = 0.0
    loaded: bool = True
