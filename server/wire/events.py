"""Events as clients ask for them and read them: as JSON, and as server-sent events.

Source of the form of the latter: the HTML standard, "Server-sent events".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from server.domain.errors import InvalidRequest
from server.domain.event import Event
from server.wire.values import shown

DEFAULT_LIMIT, MOST = 100, 4096
ASKED = ("since", "model", "limit", "stream")
LARGEST = 2**63 - 1

KEEP_ALIVE = b": still here\n\n"
BEGINNING = b"retry: 1000\n\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for.

    since    the number after which; None for the latest, or of a stream for what is to come
    model    this one alone; empty for all
    limit    events at most, where it is no stream
    stream   whether it was asked for by name
    """

    since: int | None
    model: str
    limit: int
    stream: bool


def read_query(query: Iterable[tuple[str, str]]) -> Asked:
    """The parameters in an URL. Raises `InvalidRequest`, naming the one at fault."""
    said: dict[str, str] = {}
    for name, value in query:
        if name not in ASKED:
            raise InvalidRequest(f"there is no parameter {shown(name)}; there are {', '.join(ASKED)}")
        said[name] = value
    stream = said.get("stream", "false")
    if stream not in ("true", "false"):
        raise InvalidRequest(f"parameter 'stream' must be true or false, but is {shown(stream)}")
    limit = read_number("parameter 'limit'", said["limit"]) if "limit" in said else DEFAULT_LIMIT
    if not 1 <= limit <= MOST:
        raise InvalidRequest(f"parameter 'limit' must be from 1 to {MOST}, but is {limit}")
    since = read_number("parameter 'since'", said["since"]) if "since" in said else None
    return Asked(since, said.get("model", ""), limit, stream == "true")


def read_number(what: str, text: str) -> int:
    """The number of an event. Raises `InvalidRequest`."""
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > LARGEST:
        raise InvalidRequest(f"{what} must be a whole number, 0 or above, but is {shown(text)}")
    return int(text)


def as_json(event: Event) -> dict[str, Any]:
    """What is not known is left out."""
    told: dict[str, Any] = {
        "sequence": event.sequence,
        "at": round(event.at, 3),
        "event": event.what.value,
        "model": event.model,
    }
    if event.version is not None:
        told["version"] = str(event.version)
    if event.content:
        told["content"] = event.content
    told |= {"from": event.was.value, "to": event.now.value}
    if event.reason:
        told["reason"] = event.reason
    if event.duration_s is not None:
        told["duration_s"] = round(event.duration_s, 6)
    if event.requests is not None:
        told |= {"requests": event.requests, "failures": event.failures}
    return told


def frame(event: Event) -> bytes:
    """One server-sent event; its id is where a listener goes on who was cut off."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (
        event.sequence,
        event.what.value.encode(),
        orjson.dumps(as_json(event)),
    )


def missed_frame(missed: int | None, oldest: int) -> bytes:
    """What a listener is told who was away, or slow, for longer than events are kept."""
    return b"event: missed\ndata: %b\n\n" % orjson.dumps({"missed": missed, "oldest": oldest})
