"""The process's log: an event is a line, with a fixed name and facts.

    log = structlog.get_logger()
    log.info("model_ready", model="iris", version=1, load_s=0.42)

What all lines of one request share is bound once, at the door, with
`structlog.contextvars.bound_contextvars(request_id=…)`. What a library says through `logging` comes out in
the same form, from warnings up; its own handlers stay off (uvicorn: `log_config=None`).

Whoever logs never waits for whoever reads: lines go to a bounded queue, and one thread, which `logging_to`
owns, writes what has gathered there. Lines beyond the bound are lost and counted.
"""

import json
import logging
import re
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Literal, TextIO, cast

import orjson
import structlog
from structlog.processors import TimeStamper
from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["default", "ISO8601", "json"]

MOST_LINES = 20_000
GATHER_SECS = 0.02
LAST_WORDS_SECS = 2.0


class Lines:
    """A text stream that takes lines at once and has them written by a thread of its own."""

    def __init__(self, stream: TextIO, most: int = MOST_LINES) -> None:
        self._stream = stream
        self._most = most
        self._waiting: deque[str] = deque()
        self._lost = 0
        self._has_some = Event()
        self._closing = Event()
        self._writer = Thread(
            target=self._write_all, name="log", daemon=True
        )  # a stalled reader holds no exit
        self._writer.start()

    @property
    def full(self) -> bool:
        """Whether the next line would be lost."""
        return len(self._waiting) >= self._most

    def write(self, line: str) -> int:
        if self.full:
            self._lost += 1
        else:
            self._waiting.append(line)
        if not self._has_some.is_set():
            self._has_some.set()
        return len(line)

    def flush(self) -> None:
        """Nothing: the writer flushes what it has written."""

    def close(self) -> None:
        """Write what waits, unless the reader has stalled, and end the thread."""
        self._closing.set()
        self._has_some.set()
        self._writer.join(LAST_WORDS_SECS)

    def _write_all(self) -> None:
        while not self._closing.is_set():
            self._has_some.wait()
            self._closing.wait(GATHER_SECS)  # lines that come in a rush leave in one write
            self._has_some.clear()
            self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        gathered = [self._waiting.popleft() for _ in range(len(self._waiting))]
        lost, self._lost = self._lost, 0
        if lost:
            gathered.append(f"log_lines_lost count={lost}\n")
        try:
            self._stream.write("".join(gathered))
            self._stream.flush()
        except (OSError, ValueError):
            return  # nobody reads any more, and there is nowhere else to say so


@contextmanager
def logging_to(
    *, verbose: int, info: bool, warning: bool, error: bool, format: Format, file: Path | None = None
) -> Iterator[None]:
    """Send every line of the process to `file`, else to stderr, while this is open.

    `verbose` above 0 adds debug lines, and the libraries' from info up. Raises `OSError` if `file` cannot be
    opened.
    """
    stream = file.open("a", encoding="utf-8", errors="backslashreplace") if file else sys.stderr
    lines = Lines(stream)
    shown = _shown(verbose, info, warning, error)

    def only_shown(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
        if level not in shown:
            raise structlog.DropEvent
        return event

    steps: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        TimeStamper("%H:%M:%S.%f", utc=False) if format == "default" else TimeStamper("iso"),
        structlog.processors.format_exc_info,
    ]
    render = _as_json if format == "json" else _as_text
    structlog.configure(
        processors=[only_shown, *steps, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, lines)),
        cache_logger_on_first_use=False,  # a microsecond a line, and a module's logger follows its server
    )
    libraries = logging.StreamHandler(lines)
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *steps],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    libraries.addFilter(lambda record: record.levelname.lower() in shown)
    root = logging.getLogger()
    former_level = root.level
    root.addHandler(libraries)
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(libraries)
        root.setLevel(former_level)
        structlog.reset_defaults()
        lines.close()
        if file:
            stream.close()


def _shown(verbose: int, info: bool, warning: bool, error: bool) -> frozenset[str]:
    """The levels to show, by structlog's and logging's names: Triton has a switch for each."""
    switches = {
        "debug": verbose > 0,
        "info": info,
        "warning": warning,
        "error": error,
        "exception": error,
        "critical": error,
    }
    return frozenset(level for level, on in switches.items() if on)


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except orjson.JSONEncodeError:  # a huge number, or text that is not Unicode
        return json.dumps(event, default=str)


def _as_text(_: WrappedLogger, __: str, event: EventDict) -> str:
    """Time, level, name, facts; below them a traceback. No fact from outside can begin a line of its own."""
    stamp, level, name = event.pop("timestamp"), event.pop("level"), event.pop("event")
    traceback = event.pop("exception", "")
    facts = "".join([f" {key}={_fact(value)}" for key, value in event.items()])
    line = f"{stamp} {level:<7} {_ONE_LINE.sub(' ', str(name))}{facts}"
    return f"{line}\n{traceback}" if traceback else line


_ONE_LINE = re.compile(r"\s*[\r\n]\s*")
_BARE = re.compile(r"[^\s\"'=]+")


def _fact(value: object) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else repr(text)
