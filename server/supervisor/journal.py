"""One log of all processes: every line says whose it is.

A line that is a JSON object gets two more fields, any other one a beginning: so JSON lines stay JSON lines.
Lines are taken as they come and written by a thread (`Lines`): a reader that stalls holds up nobody. Access
lines come by the ten thousand a second, so what came in one read is labelled as one text where that can be.
"""

import asyncio
from collections.abc import Callable
from typing import IO, TextIO

from server.observe.logs import Lines
from server.supervisor.plan import Seat

LONGEST_LINE = 1 << 20
"""Bytes. A longer one is written in pieces, as it would otherwise be held whole."""

MOST_WRITES = 1000
"""That may wait for a slow reader, each of what a pipe held: some sixty megabytes, and then they are lost."""


def labelled(text: str, seat: Seat) -> str:
    """Whole lines, each with its end; the same with their process."""
    head = f'{{"role":"{seat.role}","process":{seat.number},'
    count = text.count("\n")
    if text.startswith('{"') and text.count('\n{"') == count - 1 and text.count("}\n") == count:
        return head + text[1:].replace('\n{"', f'\n{head}"')  # a JSON line has no line end within
    return "".join([_labelled(line, head, seat) for line in text.split("\n")[:-1]])


def _labelled(line: str, head: str, seat: Seat) -> str:
    if line.startswith("{") and line.endswith("}"):
        rest = line[1:].lstrip()
        return f"{head[:-1] if rest == '}' else head}{rest}\n"
    return f"{seat} | {line}\n"


class Splitter:
    """Makes whole lines of bytes as they come. `take` is called with one or more of them, decoded."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._rest = b""

    def feed(self, data: bytes) -> None:
        whole, end, rest = data.rpartition(b"\n")
        if end:
            self._take((self._rest + whole + end).decode(errors="backslashreplace"))
            self._rest = rest
        else:
            self._rest += rest
        while len(self._rest) > LONGEST_LINE:
            piece, self._rest = self._rest[:LONGEST_LINE], self._rest[LONGEST_LINE:]
            self._take(piece.decode(errors="backslashreplace") + "\n")

    def end(self) -> None:
        if self._rest:
            self.feed(b"\n")


class _Pipe(asyncio.Protocol):
    def __init__(self, splitter: Splitter) -> None:
        self._splitter = splitter
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._splitter.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._splitter.end()
        self.ended.set()


class Journal:
    """Writes what processes say to `out` and `err`, which are the caller's. Close it to have all written."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = Lines(out, most=MOST_WRITES)
        self._err = Lines(err, most=MOST_WRITES)

    def close(self) -> None:
        self._out.close()
        self._err.close()

    async def follow(self, seat: Seat, pipe: IO[bytes], heard: Callable[[str], None] | None) -> asyncio.Event:
        """Write each line of the pipe, which is then ours; of stderr, `heard` is told what came, too.

        The event is set when the pipe has ended.
        """
        lines = self._out if heard is None else self._err

        def take(text: str) -> None:
            lines.write(labelled(text, seat))
            if heard is not None:
                heard(text)

        _, protocol = await asyncio.get_running_loop().connect_read_pipe(lambda: _Pipe(Splitter(take)), pipe)
        return protocol.ended
