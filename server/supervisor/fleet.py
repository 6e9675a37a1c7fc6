"""All processes of a plan: brought up in order, kept, replaced one after the other, drained in order.

`Fleet.run` is the loop of the supervisor and owns every task in it. It ends when it is told to, or when a
process refuses to start at all. Nobody of the fleet outlives it: whoever does not go in time is killed, and
whoever loses his supervisor is told by the kernel.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import structlog

from server.supervisor.child import Child
from server.supervisor.journal import Journal
from server.supervisor.keeper import Keeper, NotReplaced
from server.supervisor.plan import DRAINED, FRONT, Plan, Seat
from server.supervisor.reserve import free_port
from server.supervisor.restart import RestartRule
from server.supervisor.state import SeatState

log = structlog.get_logger(__name__)


class Rollout(StrEnum):
    """How the newest rolling restart stands."""

    NONE = "none"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True)
class Rolling:
    """The newest rolling restart: its number, how it stands, and why it failed if it did."""

    number: int = 0
    state: Rollout = Rollout.NONE
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long things may take, in seconds.

    leave    a process that was told to go, until it is killed
    replace  a new process, until a rolling restart gives it up
    """

    leave: float
    replace: float


class Fleet:
    """`program` is what a process runs, before the arguments that its seat gives it."""

    def __init__(
        self,
        plan: Plan,
        program: Sequence[str],
        environment: Mapping[str, str],
        journal: Journal,
        patience: Patience,
        *,
        rule: RestartRule | None = None,
        surge: bool = True,
    ) -> None:
        self.plan = plan
        self.rolling = Rolling()
        self.leaving = False
        self._program = program
        self._environment = environment
        self._journal = journal
        self._patience = patience
        self._surge = surge
        self._wishes = asyncio.Event()
        rule = rule or RestartRule()
        self.keepers = {
            seat: Keeper(seat, self._start, rule, leave_within_s=patience.leave) for seat in plan.seats()
        }
        self._tasks: asyncio.TaskGroup

    @property
    def live(self) -> bool:
        return not self.leaving

    @property
    def ready(self) -> bool:
        """Whether somebody of every role is."""
        roles = {seat.role for seat in self.keepers}
        return self.live and all(
            any(keeper.ready for seat, keeper in self.keepers.items() if seat.role is role) for role in roles
        )

    @property
    def complete(self) -> bool:
        """Whether every process is ready."""
        return all(keeper.ready for keeper in self.keepers.values())

    def roll(self) -> None:
        """Replace every process, one after the other; once more after that if one is under way."""
        self._wishes.set()

    async def run(self, stopping: asyncio.Event) -> bool:
        """Until `stopping` is set; whether all have gone by themselves. Raises `Refused`, in a group."""
        async with asyncio.TaskGroup() as self._tasks:
            stewards = [
                self._tasks.create_task(self._bring_up(), name="start"),
                self._tasks.create_task(self._roll_as_wished(), name="rolling restarts"),
            ]
            await stopping.wait()
            self.leaving = True
            log.info("fleet_leaving")
            for steward in stewards:
                steward.cancel()
            await self._drain()
        log.info("fleet_stopped")
        return all(keeper.left_well for keeper in self.keepers.values())

    async def _bring_up(self) -> None:
        for wave in self.plan.waves():
            for seat in wave:
                self._tasks.create_task(self.keepers[seat].keep(), name=f"keep {seat}")
            for seat in wave:
                await self.keepers[seat].begun()
        log.info("fleet_up", **self._front())
        print(self.table(), flush=True)

    async def _roll_as_wished(self) -> None:
        while True:
            await self._wishes.wait()
            self._wishes.clear()
            self.rolling = Rolling(self.rolling.number + 1, Rollout.RUNNING)
            log.info("rolling_restart_begins", number=self.rolling.number)
            try:
                for seat in self.plan.seats():
                    await self.keepers[seat].replace(within_s=self._patience.replace, surge=self._surge)
            except NotReplaced as error:
                self.rolling = Rolling(self.rolling.number, Rollout.FAILED, str(error))
                log.error("rolling_restart_failed", number=self.rolling.number, reason=str(error))
            else:
                self.rolling = Rolling(self.rolling.number, Rollout.DONE)
                log.info("rolling_restart_done", number=self.rolling.number)

    async def _drain(self) -> None:
        for role in DRAINED:
            going = [keeper for seat, keeper in self.keepers.items() if seat.role is role]
            for keeper in going:
                keeper.leave()
            for keeper in going:
                await keeper.gone()

    def _start(self, seat: Seat) -> Child:
        metrics_port = free_port()
        command = [*self._program, *self.plan.arguments(seat, metrics_port)]
        child = Child(seat, command, self._environment, metrics_port)
        self._tasks.create_task(child.observe(self._journal), name=f"observe {seat}")
        return child

    def _front(self) -> dict[str, object]:
        ports = next(ports for role, ports in self.plan.ports.items() if role in FRONT)
        return {"address": ports.address, "http": ports.http, "grpc": ports.grpc}

    def table(self) -> str:
        """For people: a line for each process."""
        rows = [("process", "pid", "state", "ready", "HTTP", "gRPC", "metrics", "restarts")]
        for seat, keeper in self.keepers.items():
            child, ports = keeper.child, self.plan.ports[seat.role]
            rows.append(
                (
                    str(seat),
                    str(child.pid) if child else "",
                    str(keeper.state),
                    "yes" if keeper.ready else "no",
                    str(ports.http),
                    str(ports.grpc),
                    str(child.metrics_port) if child else "",
                    str(keeper.failures.ever),
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        padded = partial(map, str.ljust)
        return "\n".join("  ".join(padded(row, widths)).rstrip() for row in rows)

    def report(self) -> list[dict[str, object]]:
        """For programs: an object for each process."""
        return [
            {
                "role": str(seat.role),
                "process": seat.number,
                "state": str(keeper.state),
                "ready": keeper.ready,
                "pid": keeper.child.pid if keeper.child and keeper.state is not SeatState.GONE else None,
                "restarts": keeper.failures.ever,
                "back_off_s": round(keeper.back_off_s, 3),
                "http_port": self.plan.ports[seat.role].http,
                "grpc_port": self.plan.ports[seat.role].grpc,
                "metrics_port": keeper.child.metrics_port if keeper.child else None,
            }
            for seat, keeper in self.keepers.items()
        ]
