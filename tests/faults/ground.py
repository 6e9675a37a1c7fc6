"""Where faults happen: tiers under a load, each with a repository of its own, and what became of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pytest

from tests.faults.fleet import Fleet, Holdings, fleet
from tests.faults.pipeline import done_twice, lay_version
from tests.faults.promises import Row
from tests.faults.traffic import Traffic, traffic

ROWS = pytest.StashKey[list[Row]]()
"""What has become of each fault, for the table at the end."""

BEFORE_S, AFTER_S = 1.0, 3.0
"""Of load, without a fault."""

GIVEN_BACK_WITHIN_S = 5.0


class Harm:
    """What a test tells of what it did."""

    def __init__(self) -> None:
        self.back_at: float | None = None

    def over(self) -> None:
        """What was harmed is whole again."""
        self.back_at = monotonic()


@dataclass
class Ground:
    """
    notes          where the code of each process notes what it ran for
    repositories   of each tier, its own
    rows           what became of each fault so far
    """

    fleet: Fleet
    notes: Path
    repositories: dict[str, Path]
    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def under_load(self, fault: str, clear: frozenset[str] = frozenset()) -> Iterator[tuple[Harm, Traffic]]:
        """A load with a fault in the block; leaving waits for its end and holds all to the promises.

        `clear` are statuses that say enough here, beside the usual ones.
        """
        processes, harm = self.fleet.processes, Harm()
        pids = {name: process.pid for name, process in processes.items()}
        before = {name: process.holdings() for name, process in processes.items()}
        with traffic(self.fleet.of("gateway")) as load:
            time.sleep(BEFORE_S)
            yield harm, load
            time.sleep(AFTER_S)
        lived = [name for name, process in processes.items() if process.pid == pids[name]]
        row = Row(
            fault=fault,
            outcomes=load.outcomes,
            back_at=harm.back_at,
            clear=clear,
            twice=done_twice(self.notes),
            grown={name: (before[name], self._settled(name, before[name])) for name in lived},
        )
        self.rows.append(row)
        assert not row.faults(), row.line()

    def back(self, name: str, harm: Harm) -> None:
        """Start a process again; it is back when it says so."""
        self.fleet[name].start()
        self.fleet[name].await_ready()
        harm.over()

    def _settled(self, name: str, before: Holdings) -> Holdings:
        """What a process has once the load is over, and it has had time to give back."""
        deadline = monotonic() + GIVEN_BACK_WITHIN_S
        while True:
            after = self.fleet[name].holdings()
            if (after.fds <= before.fds and after.threads <= before.threads) or monotonic() > deadline:
                return after
            time.sleep(0.1)


@contextmanager
def ground(scratch: Path, rows: list[Row], *, wired: bool = True, **counts: int) -> Iterator[Ground]:
    """So many processes of each tier, ready and warm; what becomes of faults goes into `rows`.

    `wired` as of `fleet`.
    """
    notes = scratch / "notes"
    notes.mkdir()
    repositories = {role: scratch / role for role in ("pre", "predict", "post")}
    for repository in repositories.values():
        lay_version(repository, 1, notes)
    with fleet(scratch, repositories.__getitem__, counts, wired=wired) as made:
        with traffic(made.of("gateway")):
            time.sleep(1.5)  # so that what a first request costs is no leak
        yield Ground(made, notes, repositories, rows)
