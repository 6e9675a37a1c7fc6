"""Remembers what models have been through, in the process and, where there is a folder, beyond it.

It hears each event and keeps a file for each model, written whole by a thread of its own pace: a crash loses
the last second. A file that cannot be read is none, with a line in the log. Entered once; leaving it writes
what is left to be written.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import structlog

from server.domain.errors import ModelNotFound
from server.domain.event import Event
from server.domain.history import NOT_TOLD, Entries, Entry, ended, from_json, learned, to_json
from server.lifecycle.events import Counts, counts_of, short
from server.lifecycle.state_file import write_whole
from server.lifecycle.table import Table

log = structlog.get_logger(__name__)

MOST_MODELS = 20_000
"""That are remembered, in the process and in the folder."""

PAUSE_S = 0.5
"""Between two rounds of writing: a load is several events."""

LAST_WRITE_S = 5.0
LONGEST_NAME = 200


class Histories:
    """Lives on the event loop, but for the writing. `folder` is None to remember in the process alone."""

    def __init__(self, folder: Path | None = None, most: int = MOST_MODELS) -> None:
        self._folder = folder
        self._most = most
        self._entries: dict[str, Entries] = {}
        self._on_disk = _names(folder, most) if folder is not None else frozenset()
        self._dirty: set[str] = set()
        self._something = asyncio.Event()
        self._closing = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._said = False

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        if self._folder is not None:
            self._tasks.create_task(self._write_on(self._folder), name="histories")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._something.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WRITE_S):
                await self._tasks.__aexit__(kind, error, trace)

    def hear(self, event: Event) -> None:
        if event.what in NOT_TOLD:  # of a repository of thousands, most are only seen
            return
        known = self._of(event.model)
        now = learned(known, event)
        if now is known:
            return
        self._entries[event.model] = now
        while len(self._entries) > self._most:
            del self._entries[next(iter(self._entries))]
        if self._folder is not None:
            self._dirty.add(event.model)
            self._something.set()

    def of(self, model: str, table: Table) -> list[Entry]:
        """The last to change first; those that serve with their counts by now. Raises `ModelNotFound`."""
        entries = self._of(model)
        if not entries and model not in table.models:
            raise ModelNotFound(model)
        live = _counted(table, model)
        found = []
        for entry in entries:
            counts = live.get((entry.version, entry.content))
            if counts is not None:
                entry = replace(entry, requests=counts.requests, failures=counts.failures)
            found.append(entry)
        return sorted(found, key=lambda entry: entry.since, reverse=True)

    def _of(self, model: str) -> Entries:
        """What is known; at the first time, what an earlier process knew: one small file, read once."""
        if model in self._entries:
            return self._entries[model]
        name = _file_name(model)
        if self._folder is None or name not in self._on_disk:
            return ()
        entries: Entries = ()
        try:
            document = json.loads((self._folder / name).read_bytes())
            if not isinstance(document, dict) or document.get("model") != model:
                raise ValueError("it is not of this model")
            entries = ended(from_json(document.get("versions")))
        except (OSError, ValueError) as error:
            log.warning("history_unreadable", model=model, file=name, reason=str(error))
        self._entries[model] = entries
        return entries

    async def _write_on(self, folder: Path) -> None:
        """Until this is left, and everything is written."""
        while self._dirty or not self._closing.is_set():
            await self._something.wait()
            self._something.clear()
            going, self._dirty = self._dirty, set()
            texts = {model: to_json(self._entries.get(model, ())) for model in going}
            await asyncio.to_thread(self._write, folder, texts)
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_S):
                    await self._closing.wait()

    def _write(self, folder: Path, entries: Mapping[str, object]) -> None:
        for model, versions in entries.items():
            content = json.dumps({"model": model, "versions": versions}).encode()
            try:
                write_whole(folder / _file_name(model), content, durable=False)
            except OSError as error:
                if not self._said:
                    log.warning("history_not_kept", folder=str(folder), reason=error.strerror)
                self._said = True
                return


def _counted(table: Table, model: str) -> Mapping[tuple[int, str], Counts]:
    return {
        (version, short(served.content.whole)): counts_of(served.facts.tally)
        for version, served in table.versions(model).items()
    }


def _file_name(model: str) -> str:
    name = quote(model, safe="")
    if name.startswith(".") or len(name) > LONGEST_NAME:
        name = sha256(model.encode()).hexdigest()
    return f"{name}.json"


def _names(folder: Path, most: int) -> frozenset[str]:
    """The files that there are; the oldest are removed where there are too many. Blocks."""
    try:
        dated = sorted((path.stat().st_mtime_ns, path) for path in folder.glob("*.json"))
    except OSError:
        return frozenset()
    for _, path in dated[: max(0, len(dated) - most)]:
        path.unlink(missing_ok=True)
    return frozenset(path.name for _, path in dated[-most:])
