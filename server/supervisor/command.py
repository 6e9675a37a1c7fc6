"""Runs the supervisor: its signals, its ports and its log, around one `Fleet`."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any

import structlog

from server.observe.logs import LogSettings, logging_to
from server.supervisor.fetch import NoAnswer, fetch
from server.supervisor.fleet import Fleet, Patience, Rollout
from server.supervisor.journal import Journal
from server.supervisor.keeper import Refused
from server.supervisor.plan import LOOPBACK, Plan, Ports, Role
from server.supervisor.reserve import PortTaken, reserved
from server.supervisor.restart import RestartRule
from server.supervisor.view import View, born

log = structlog.get_logger(__name__)

PROGRAM = (sys.executable, "-P", "-m", "server.cli")
ROOT = Path(__file__).resolve().parents[2]
"""Where the packages lie that we run from: children are to run from there too, whatever the folder is."""

EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}
LOOK_AGAIN_S = 0.2
ASK_WITHIN_S = 5.0


class NotRolled(Exception):
    """A rolling restart could not be had, or failed; the sentence says why."""


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


def _ports(settings: UpSettings, parts: ExitStack) -> dict[Role, Ports]:
    """Where each role is asked: the front where it was told, a tier on loopback alone. Raises `PortTaken`."""
    ports = {}
    for role in settings.count:
        wanted = settings.front if role in (Role.ALL, Role.GATEWAY) else Ports(LOOPBACK, 0, 0)
        http = parts.enter_context(reserved(wanted.address, wanted.http))
        grpc = parts.enter_context(reserved(wanted.address, wanted.grpc))
        ports[role] = Ports(wanted.address, http, grpc)
    return ports


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), ours.get("PYTHONPATH", ""))))
    return {**ours, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _leaves(failure: BaseException) -> Iterator[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        for inner in failure.exceptions:
            yield from _leaves(inner)
    else:
        yield failure


# `--rolling-restart`


def roll(address: str, port: int, *, within_s: float) -> None:
    """Have the supervisor whose view is there replace its processes, and wait. Raises `NotRolled`."""
    asyncio.run(_roll(EVERYWHERE.get(address, address), port, within_s))


async def _roll(address: str, port: int, within_s: float) -> None:
    before = await _report(address, port)
    supervisor = before["supervisor"]
    pid = int(supervisor["pid"])
    try:
        if born(pid) != supervisor["born"]:
            raise ProcessLookupError
        os.kill(pid, signal.SIGHUP)
    except PermissionError:
        raise NotRolled(f"process {pid} is another user's: send it SIGHUP as that user, or as root") from None
    except (OSError, OverflowError, ValueError):
        raise NotRolled(
            f"the supervisor at {address}:{port} does not run on this machine, or not in sight of this "
            "command: send it SIGHUP where it runs"
        ) from None
    print(f"rolling restart of {len(before['processes'])} processes")
    shown: dict[str, object] = {}
    try:
        async with asyncio.timeout(within_s * max(1, len(before["processes"]))):
            while True:
                report = await _report(address, port)
                for each in report["processes"]:
                    name = f"{each['role']}.{each['process']}"
                    if shown.setdefault(name, each["pid"]) != each["pid"]:
                        print(f"{name} is now process {each['pid']}", flush=True)
                        shown[name] = each["pid"]
                rolling = report["rolling_restart"]
                if rolling["number"] > before["rolling_restart"]["number"]:
                    if rolling["state"] == Rollout.FAILED:
                        raise NotRolled(f"the rolling restart stopped: {rolling['reason']}")
                    if rolling["state"] == Rollout.DONE:
                        return
                await asyncio.sleep(LOOK_AGAIN_S)
    except TimeoutError:
        raise NotRolled("the rolling restart takes too long: it goes on, and the log says how") from None


async def _report(address: str, port: int) -> dict[str, Any]:
    try:
        status, body = await fetch(port, "/", within_s=ASK_WITHIN_S, address=address)
        report = loads(body)
        if status == 200 and isinstance(report["supervisor"]["born"], int):
            return dict(report)
    except NoAnswer:
        raise NotRolled(
            f"no supervisor answers at {address}:{port}: name its port, as in --metrics-port=8002"
        ) from None
    except (JSONDecodeError, LookupError, TypeError):
        pass
    raise NotRolled(f"what answers at {address}:{port} is not `tercet up`")
