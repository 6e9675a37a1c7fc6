"""Runs the supervisor: its signals, its ports and its log, around one `Fleet`."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.observe.logs import LogSettings, logging_to
from server.supervisor.fleet import Fleet, Patience
from server.supervisor.journal import Journal
from server.supervisor.keeper import Refused
from server.supervisor.plan import FRONT, LOOPBACK, Plan, Ports, Role, Seat, seats_of
from server.supervisor.reserve import PortTaken, reserved
from server.supervisor.restart import RestartRule
from server.supervisor.view import View

log = structlog.get_logger(__name__)

PROGRAM = (sys.executable, "-P", "-m", "server.cli")
ROOT = Path(__file__).resolve().parents[2]
"""Where the packages lie that we run from: children are to run from there too, whatever the folder is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSettings:
    """What the supervisor is to do. Ports may be 0 for free ones.

    front     where clients ask
    view      address and port of the fleet's metrics
    leave_s   how long a process may take to go before it is killed
    """

    count: Mapping[Role, int]
    repositories: Sequence[str]
    options: Mapping[str, Sequence[str]]
    processors: int
    front: Ports
    view: tuple[str, int]
    leave_s: float
    replace_s: float
    scrape_s: float
    surge: bool
    log: LogSettings


def run(settings: UpSettings, *, program: Sequence[str] = PROGRAM, rule: RestartRule | None = None) -> int:
    """Supervise until SIGTERM or SIGINT; the exit code: 0 if all went by themselves."""
    with ExitStack() as parts:
        file = settings.log.file
        err = parts.enter_context(file.open("a", encoding="utf-8")) if file else sys.stderr
        parts.enter_context(logging_to(settings.log))
        parts.enter_context(structlog.contextvars.bound_contextvars(by="supervisor"))
        journal = Journal(sys.stdout, err)
        parts.callback(journal.close)
        try:
            return asyncio.run(_supervise(settings, program, rule, journal))
        except (PortTaken, BaseExceptionGroup) as failure:
            refusals = list(_leaves(failure))
            for each in refusals:
                if isinstance(each, (Refused, PortTaken)):
                    for sentence in str(each).splitlines():
                        print(f"tercet: {sentence}", file=sys.stderr)
                else:
                    log.critical("part_died", exc_info=each)
            codes = [each.code for each in refusals if isinstance(each, Refused)]
            return codes[0] if codes else 1


async def _supervise(
    settings: UpSettings, program: Sequence[str], rule: RestartRule | None, journal: Journal
) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    with ExitStack() as ports:
        plan = Plan(
            count=settings.count,
            ports=_ports(settings, ports),
            repositories=settings.repositories,
            options=settings.options,
            processors=settings.processors,
        )
        fleet = Fleet(
            plan,
            program,
            _environment(os.environ),
            journal,
            Patience(leave=settings.leave_s, replace=settings.replace_s),
            rule=rule,
            surge=settings.surge,
        )
        at_a_terminal = _has_terminal()

        def hung_up() -> None:
            """A wish for a rolling restart; of a terminal that was closed, for the end."""
            if at_a_terminal and not _has_terminal():
                stopping.set()
            else:
                fleet.roll()

        loop.add_signal_handler(signal.SIGHUP, hung_up)
        async with AsyncExitStack() as parts:
            await parts.enter_async_context(View(fleet, *settings.view, scrape_s=settings.scrape_s))
            return 0 if await fleet.run(stopping) else 1


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _ports(settings: UpSettings, parts: ExitStack) -> dict[Seat, Ports]:
    """Where each is asked: the front where it was told, a tier on loopback alone. Raises `PortTaken`."""

    def had(address: str, http: int, grpc: int) -> Ports:
        taken = [parts.enter_context(reserved(address, port)) for port in (http, grpc)]
        return Ports(address, *taken)

    front = had(settings.front.address, settings.front.http, settings.front.grpc)
    return {
        seat: front if role in FRONT else had(LOOPBACK, 0, 0)
        for role in settings.count
        for seat in seats_of(role, settings.count)
    }


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), ours.get("PYTHONPATH", ""))))
    return {**ours, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _leaves(failure: BaseException) -> Iterator[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        for inner in failure.exceptions:
            yield from _leaves(inner)
    else:
        yield failure
