"""What happened to a version of a model, as one value: who it was, what it was at, and why.

An event tells of one content of one version: where new content takes the place of old content under the
same number, each of the two has a life of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from server.domain.state import State


class What(StrEnum):
    """What can happen."""

    SEEN = "seen"
    VERIFYING = "verifying"
    LOADING = "loading"
    READY = "ready"
    RESIZED = "resized"
    SWAPPED = "swapped"
    UNLOADING = "unloading"
    UNLOADED = "unloaded"
    REJECTED = "rejected"
    WAITING = "waiting"
    EVICTED = "evicted"
    BROUGHT_BACK = "brought_back"
    ROLLED_BACK = "rolled_back"
    LABELLED = "labelled"
    WORKER_LOST = "worker_lost"
    WORKER_BACK = "worker_back"
    QUARANTINED = "quarantined"


LEADS_TO: Mapping[What, State | None] = {
    What.SEEN: State.UNKNOWN,
    What.VERIFYING: State.LOADING,
    What.LOADING: State.LOADING,
    What.READY: State.READY,
    What.RESIZED: State.READY,
    What.SWAPPED: State.UNLOADING,
    What.UNLOADING: State.UNLOADING,
    What.UNLOADED: State.UNAVAILABLE,
    What.REJECTED: State.UNAVAILABLE,
    What.WAITING: State.UNAVAILABLE,
    What.EVICTED: State.READY,
    What.BROUGHT_BACK: State.READY,
    What.ROLLED_BACK: State.UNLOADING,
    What.LABELLED: None,
    What.WORKER_LOST: State.READY,
    What.WORKER_BACK: State.READY,
    What.QUARANTINED: State.UNLOADING,
}
"""The state that each leads to; None where it changes none. What is evicted is loaded on request: READY."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One transition.

    sequence     counts up by one; goes on above all that earlier processes gave
    at           seconds since the epoch
    version      None for what befalls the model as a whole
    content      a short name of what the version is made of; empty where that is not known
    was, now     the states of this content
    reason       why, in a sentence; empty where it needs none
    duration_s   since the event before of this content: of `ready` how long the load took, of `loading` the
                 verification before it, of `unloaded` the wait for the last requests; None for the first
    requests     answered or failed by it so far, where it goes; None elsewhere
    failures     of these, those that were the model's own fault
    """

    sequence: int
    at: float
    model: str
    version: int | None
    content: str
    what: What
    was: State
    now: State
    reason: str = ""
    duration_s: float | None = None
    requests: int | None = None
    failures: int | None = None
