import asyncio
import io
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.domain.backoff import BackOff
from server.supervisor.fleet import Fleet, Patience
from server.supervisor.journal import Journal
from server.supervisor.plan import Plan, Ports, Role
from server.supervisor.restart import RestartRule

STAND_IN = Path(__file__).with_name("stand_in.py")
QUICK = RestartRule(back_off=BackOff(first_s=0.05, most_s=0.2), settled_s=60)


class Stage:
    """A fleet of stand-ins, and what has happened to them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.out = io.StringIO()
        self.err = io.StringIO()

    def harm(self, role: str, words: str) -> None:
        (self._folder / role).write_text(words)

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        try:
            lines = (self._folder / "events").read_text().splitlines()
        except OSError:
            return []
        told = [json.loads(line) for line in lines]
        return [each for each in told if not kinds or each["event"] in kinds]

    async def until(self, holds: Callable[[], object], within_s: float = 10.0) -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, self.events()
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def fleet(
        self, count: Mapping[Role, int], *, leave_s: float = 5.0, replace_s: float = 5.0, surge: bool = True
    ) -> AsyncIterator["Played"]:
        """A fleet that runs; at the end it is told to go, unless the test has done so."""
        ports = {role: Ports("127.0.0.1", 9100 + at, 9200 + at) for at, role in enumerate(Role)}
        plan = Plan(count=count, ports={role: ports[role] for role in count}, repositories=["models"])
        journal = Journal(self.out, self.err)
        fleet = Fleet(
            plan,
            [sys.executable, "-S", str(STAND_IN)],
            {**os.environ, "FOLDER": str(self._folder), "PYTHONUNBUFFERED": "1"},
            journal,
            Patience(leave=leave_s, replace=replace_s),
            rule=QUICK,
            surge=surge,
        )
        stopping = asyncio.Event()
        running = asyncio.ensure_future(fleet.run(stopping))
        try:
            yield Played(fleet, stopping, running)
        finally:
            stopping.set()
            await asyncio.wait([running])
            journal.close()


class Played:
    def __init__(self, fleet: Fleet, stopping: asyncio.Event, running: "asyncio.Future[bool]") -> None:
        self.fleet = fleet
        self.running = running
        self._stopping = stopping

    async def stop(self) -> bool:
        self._stopping.set()
        return await self.running


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)
