"""The process's log: an event is a line, with a fixed name and facts.

    log = structlog.get_logger()
    log.info("model_ready", model="iris", version=1, load_s=0.42)

What all lines of one request share is bound once, at the door, with
`structlog.contextvars.bound_contextvars(request_id=…)`. What a library says through `logging` comes out in
the same form, from warnings up; its own handlers stay off (uvicorn: `log_config=None`).

Whoever logs never waits for whoever reads: lines go to a bounded queue, and one thread, which `logging_to`
owns, writes what has gathered there. Lines beyond the bound are lost and counted.

What is written, and how, may change while the process runs (`ProcessLog.change`): the next line obeys.
"""

import json
import logging
import re
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Literal, TextIO, cast

import orjson
import structlog
from structlog.processors import TimeStamper
from structlog.typing import EventDict, Processor, WrappedLogger

from server.precedence import give_way

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
        give_way()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is written, and how.

    verbose   above 0 adds debug lines, and the libraries' from info up
    file      where the lines go; None for stderr
    """

    verbose: int
    info: bool
    warning: bool
    error: bool
    format: Format
    file: Path | None = None


class ProcessLog:
    """The settings in force for every line of the process. Made by `logging_to`, which also ends it."""

    def __init__(self, lines: Lines, settings: LogSettings) -> None:
        self._lines = lines
        self._shown: frozenset[str] = frozenset()
        self._libraries = logging.StreamHandler(lines)
        self._libraries.addFilter(lambda record: record.levelname.lower() in self._shown)
        self._root = logging.getLogger()
        self._former_level = self._root.level
        self._root.addHandler(self._libraries)
        logging.captureWarnings(True)
        self._put_in_force(settings)

    @property
    def settings(self) -> LogSettings:
        return self._settings

    def change(self, settings: LogSettings) -> None:
        """From the next line on. `file` stays as it is."""
        if not self._settings.info:  # so that the change is told if info is shown before it or after it
            self._put_in_force(settings)
        structlog.get_logger().info(
            "log_settings_changed",
            verbose=settings.verbose,
            info=settings.info,
            warning=settings.warning,
            error=settings.error,
            format=settings.format,
        )
        self._put_in_force(settings)

    def end(self) -> None:
        logging.captureWarnings(False)
        self._root.removeHandler(self._libraries)
        self._root.setLevel(self._former_level)
        structlog.reset_defaults()

    def _put_in_force(self, settings: LogSettings) -> None:
        self._settings = settings
        self._shown = _shown(settings)
        steps: list[Processor] = [
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            TimeStamper("%H:%M:%S.%f", utc=False) if settings.format == "default" else TimeStamper("iso"),
            structlog.processors.format_exc_info,
        ]
        render = _as_json if settings.format == "json" else _as_text
        level = logging.DEBUG if settings.verbose else logging.INFO
        structlog.configure(
            processors=[self._only_shown, *steps, render],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, self._lines)),
            cache_logger_on_first_use=False,  # a microsecond a line, and a module's logger obeys the change
        )
        self._libraries.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[structlog.stdlib.add_logger_name, *steps],
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
            )
        )
        self._root.setLevel(logging.INFO if settings.verbose else logging.WARNING)

    def _only_shown(self, _: WrappedLogger, level: str, event: EventDict) -> EventDict:
        if level not in self._shown:
            raise structlog.DropEvent
        return event


@contextmanager
def logging_to(settings: LogSettings) -> Iterator[ProcessLog]:
    """Send every line of the process to the settings' file, else to stderr, while this is open.

    Raises `OSError` if the file cannot be opened.
    """
    file = settings.file
    stream = file.open("a", encoding="utf-8", errors="backslashreplace") if file else sys.stderr
    lines = Lines(stream)
    process_log = ProcessLog(lines, settings)
    try:
        yield process_log
    finally:
        process_log.end()
        lines.close()
        if file:
            stream.close()


def _shown(settings: LogSettings) -> frozenset[str]:
    """The levels to show, by structlog's and logging's names: Triton has a switch for each."""
    switches = {
        "debug": settings.verbose > 0,
        "info": settings.info,
        "warning": settings.warning,
        "error": settings.error,
        "exception": settings.error,
        "critical": settings.error,
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
