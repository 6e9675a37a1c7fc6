"""What a model has been through: an entry for each content of each version that was served or rejected.

Made of events alone, one after the other, so that what is remembered is never more than what was told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.domain.event import Event, What
from server.domain.state import State

MOST = 50
"""Entries of one model; the oldest goes."""

LONGEST_REASON = 500
NOT_TOLD = frozenset({What.SEEN, What.LABELLED, What.WAITING})
LEAVING = frozenset({What.SWAPPED, What.UNLOADING, What.ROLLED_BACK, What.QUARANTINED})
SERVER_ENDED = "the server ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One content of one version.

    what        what happened to it last, and `since` when that is so, in seconds since the epoch
    verified_s  how long its last verification took; None where it was not verified
    loaded_s    how long its last load took; None where it never came up
    reason      why it left, or was rejected; empty while all is well
    requests, failures   while it serves, or served last; the latter are those that were its own fault
    earlier_requests, earlier_failures   of the times before, when it had been loaded and was unloaded
    """

    version: int
    content: str
    what: What
    state: State
    since: float
    verified_s: float | None = None
    loaded_s: float | None = None
    reason: str = ""
    requests: int = 0
    failures: int = 0
    earlier_requests: int = 0
    earlier_failures: int = 0


Entries = tuple[Entry, ...]


def learned(entries: Entries, event: Event) -> Entries:
    """The entries after an event, in the order in which they began; as they were if it is none of theirs."""
    if event.version is None or event.what in NOT_TOLD:
        return entries
    if event.what is What.RESIZED:  # other content, and the same version that serves
        return tuple(
            replace(entry, content=event.content)
            if entry.version == event.version and entry.state is State.READY
            else entry
            for entry in entries
        )
    at = _place(entries, event)
    if at is None:
        entry = _after(_new(event), event)
        return (*entries, entry)[-MOST:]
    return (*entries[:at], _after(entries[at], event), *entries[at + 1 :])


def ended(entries: Entries) -> Entries:
    """As the next process finds them: what serves by their word does so no more."""
    return tuple(
        entry
        if entry.state is State.UNAVAILABLE
        else replace(entry, state=State.UNAVAILABLE, what=What.UNLOADED, reason=entry.reason or SERVER_ENDED)
        for entry in entries
    )


def to_json(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    return [{name: getattr(entry, name) for name in Entry.__slots__} for entry in entries]


def from_json(document: object) -> Entries:
    """Raises `ValueError` for what `to_json` would not have written."""
    if not isinstance(document, list):
        raise ValueError("it is no list of entries")
    try:
        return tuple(
            Entry(**{**each, "what": What(each["what"]), "state": State(each["state"])}) for each in document
        )[-MOST:]
    except (TypeError, KeyError) as error:
        raise ValueError(f"an entry is none: {error}") from None


def _place(entries: Entries, event: Event) -> int | None:
    for at, entry in enumerate(entries):
        if (entry.version, entry.content) == (event.version, event.content):
            return at
    return None


def _new(event: Event) -> Entry:
    assert event.version is not None
    return Entry(
        version=event.version, content=event.content, what=event.what, state=event.now, since=event.at
    )


def _after(entry: Entry, event: Event) -> Entry:
    changed = replace(entry, what=event.what, state=event.now, since=event.at, reason=_reason(entry, event))
    match event.what:
        case What.LOADING if entry.what is What.VERIFYING:
            changed = replace(changed, verified_s=event.duration_s)
        case What.READY:
            changed = replace(
                changed,
                loaded_s=event.duration_s,
                requests=0,
                failures=0,
                earlier_requests=entry.earlier_requests + entry.requests,
                earlier_failures=entry.earlier_failures + entry.failures,
            )
    if event.requests is not None and event.failures is not None:
        changed = replace(changed, requests=event.requests, failures=event.failures)
    return changed


def _reason(entry: Entry, event: Event) -> str:
    """Why it left is told as it leaves; that it is gone then is no other reason."""
    if event.what is What.UNLOADED and entry.what in LEAVING:
        return entry.reason
    return event.reason[:LONGEST_REASON]
