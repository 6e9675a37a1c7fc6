"""One line for every order to this server: who gave it, what it was, about which model, and what came of it.

Always JSON, whatever the log's own form is, and at no level that could be switched off.
"""

from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TextIO

import orjson

from server.observe.logs import Lines

MOST_WAITING = 20_000
LONGEST = 255
"""Of a name that a caller makes up."""

DONE, FAILED, DENIED = "done", "failed", "denied"
"""What came of an order; denied is one that who gave it may not give."""


class AuditLog:
    """Leaving it writes what is left; `stream` is the caller's."""

    def __init__(self, stream: TextIO) -> None:
        self._lines = Lines(stream, most=MOST_WAITING)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

    def record(
        self, caller: str, order: str, model: str, door: str, peer: str, status: int, outcome: str
    ) -> None:
        """`status` is in the words of the door: an HTTP status, or the number of a gRPC code."""
        line = {
            "event": "audit",
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "caller": caller[:LONGEST],
            "order": order,
            "model": model[:LONGEST],
            "door": door,
            "peer": peer,
            "status": status,
            "outcome": outcome,
        }
        try:
            text = orjson.dumps(line).decode()
        except orjson.JSONEncodeError:  # half a surrogate pair, out of a path or a token
            line |= {"caller": _whole(caller), "model": _whole(model)}
            text = orjson.dumps(line).decode()
        self._lines.write(text + "\n")


def _whole(name: str) -> str:
    return name[:LONGEST].encode("utf-8", "replace").decode()
