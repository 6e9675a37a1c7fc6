"""One log of all processes: every line says whose it is.

A line that is a JSON object gets two more fields, any other one a beginning: so JSON lines stay JSON lines.
Lines are taken as they come and written by a thread (`Lines`): a reader that stalls holds up nobody.
"""

import asyncio
from collections.abc import Callable
from typing import IO, TextIO

from server.observe.logs import Lines
from server.supervisor.plan import Seat

LONGEST_LINE = 1 << 20
"""Bytes. A longer one is written in pieces, as it would otherwise be held whole."""


def labelled(line: str, seat: Seat) -> str:
    """The line with its process; without its end."""
    if line.startswith("{") and line.endswith("}"):
        rest = line[1:].lstrip()
        return f'{{"role":"{seat.role}","process":{seat.number}{"" if rest == "}" else ","}{rest}'
    return f"{seat} | {line}"


class Splitter:
    """Makes lines of bytes as they come. `take` is called with each, decoded and without its end."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode(errors="backslashreplace"))
        while len(self._rest) > LONGEST_LINE:
            piece, self._rest = self._rest[:LONGEST_LINE], self._rest[LONGEST_LINE:]
            self._take(piece.decode(errors="backslashreplace"))

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
    """Writes what processes say to `out` and `err`, which are the caller's. Close it."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = Lines(out)
        self._err = Lines(err)

    def close(self) -> None:
        self._out.close()
        self._err.close()

    async def follow(self, seat: Seat, pipe: IO[bytes], heard: Callable[[str], None] | None) -> asyncio.Event:
        """Write each line of the pipe, which is then ours; `heard` is told of it too, and it is stderr then.

        The event is set when the pipe has ended.
        """
        lines = self._out if heard is None else self._err

        def take(line: str) -> None:
            lines.write(labelled(line, seat) + "\n")
            if heard is not None:
                heard(line)

        _, protocol = await asyncio.get_running_loop().connect_read_pipe(lambda: _Pipe(Splitter(take)), pipe)
        return protocol.ended
