"""One line per request, written off the request's path.

A door records facts and goes on; many at once become JSON lines, and a thread writes them. The lines
are made on the event loop: a thread that makes them fights for the interpreter with the requests, and
was measured to cost them more. When the log cannot keep up, lines are dropped and counted, and requests
are not slowed.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from time import monotonic, time
from types import TracebackType
from typing import Self, TextIO

import orjson

from server.observe.logs import Lines

LONGEST_NAME = 255
"""Of a model or a version, as of a folder. What a caller makes up may be longer, and is cut."""
MOST_WRITES = 200
"""Gathered lines that may wait for a slow reader: some twenty megabytes at full speed."""

AT_ONCE = 500
"""Records that are made into lines without waiting for more: a millisecond's work."""

LONGEST_ID = 1024
"""Of a request. A longer one is cut, too; by default it is refused."""

LONGEST_KEPT = 256
"""Characters of id, model and version that are remembered: callers make them up."""

What = tuple[str, str, str, str, int, int]
"""Request id, door, model, version, rows, and the code of the door that it came by: what many requests have
in common."""

Record = tuple[float, float, str, What, int, int, int]
"""When it arrived and when it ended (of the monotonic clock, in seconds), who asked, what it was, rows of its
batch, nanoseconds in the queue, and nanoseconds in the model."""


class AccessLog:
    """Lives on the event loop. Leaving it writes what is left; `stream` is the caller's.

    gather_s   lines wait so long for others: a process that answers now and then is not woken for each
    """

    def __init__(self, stream: TextIO, *, max_waiting: int = 50_000, gather_s: float = 0.1) -> None:
        self._lines = Lines(stream, most=MOST_WRITES)
        self._waiting: list[Record] = []
        self._timer: asyncio.TimerHandle | None = None
        self._max_waiting = max_waiting
        self._at_once = min(AT_ONCE, max_waiting)
        self._gather_s = gather_s
        self._loop = asyncio.get_running_loop()
        self.dropped = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._flush()
        self._lines.close()

    def record(self, record: Record) -> None:
        """Note one finished request."""
        waiting = self._waiting
        if len(waiting) >= self._at_once:
            if len(waiting) >= self._max_waiting:
                self.dropped += 1
                return
            if len(waiting) == self._at_once:
                self._loop.call_soon(self._flush)
        elif not waiting and self._timer is None:
            self._timer = self._loop.call_later(self._gather_s, self._flush_late)
        waiting.append(record)

    def _flush_late(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._lines.full:
            self.dropped += len(waiting)
        elif waiting:
            self._lines.write(_lines(waiting, time() - monotonic()))


def _lines(records: Sequence[Record], epoch: float) -> str:
    """`epoch` is when the monotonic clock began, in seconds since the epoch.

    What the requests of one run have in common is written once, and the numbers of each are put in between: a
    third of what a JSON writer takes that is given all of it.
    """
    lines = []
    at_ms, told, rows_of_run, ns_of_run, asker = 0, None, 0, 0, None
    head = before = behind = quoted = front = back = end = ""
    for arrived, ended, peer, what, batch_rows, queue_ns, compute_ns in records:
        epoch_ms = int((epoch + ended) * 1000)
        if epoch_ms != at_ms:
            at_ms = epoch_ms
            head = f'{{"event":"request","at":"{_moment(epoch_ms)}",'
        if compute_ns != ns_of_run or batch_rows != rows_of_run or what != told:
            ns_of_run, rows_of_run = compute_ns, batch_rows
            if what != told:
                told = what
                named = len(what[0]) + len(what[2]) + len(what[3])
                before, behind, status = _kept_frame(what) if named <= LONGEST_KEPT else _frame(what)
                end = f",{status}}}\n"
            front = f',{behind},"batch_rows":{batch_rows},"queue_us":'
            back = f',"compute_us":{compute_ns // 1000},"total_us":'
        if peer != asker:
            asker, quoted = peer, _quoted(peer)
        total_us = int((ended - arrived) * 1e6)
        lines.append(f"{head}{before}{quoted}{front}{queue_ns // 1000}{back}{total_us}{end}")
    return "".join(lines)


def _frame(what: What) -> tuple[str, str, str]:
    """What stands before who asked, what between that and the numbers, and what behind them."""
    request_id, door, model, version, rows, status = what
    before = _fields(request_id=request_id[:LONGEST_ID], door=door)
    behind = _fields(model=model[:LONGEST_NAME], version=version[:LONGEST_NAME], rows=rows)
    return f'{before},"peer":', behind, f'"status":{status}'


def _fields(**fields: str | int) -> str:
    """They are JSON, without the braces."""
    try:
        text = orjson.dumps(fields)
    except TypeError:  # half a surrogate pair, out of a path that is no UTF-8
        text = b"\xff"
    if not text.isascii():  # some readers end lines at U+2028, too
        text = json.dumps(fields, separators=(",", ":")).encode()
    return text[1:-1].decode()


_kept_frame = lru_cache(maxsize=2048)(_frame)
_quoted = lru_cache(maxsize=2048)(json.dumps)


@lru_cache(maxsize=64)
def _moment(epoch_ms: int) -> str:
    second = datetime.fromtimestamp(epoch_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{second}.{epoch_ms % 1000:03}Z"
