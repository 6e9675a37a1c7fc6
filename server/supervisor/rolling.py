"""Has a supervisor that runs replace its processes, and waits until it has.

Found by the port of its view; told by a signal, which the kernel takes from the same user on the same machine
alone. So there is no file that could be out of date, and no door that somebody else could knock at.
"""

import asyncio
import os
import signal
from json import JSONDecodeError, loads
from typing import Any

from server.supervisor.fetch import NoAnswer, fetch
from server.supervisor.fleet import Rollout
from server.supervisor.plan import LOOPBACK
from server.supervisor.view import born

EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}
LOOK_AGAIN_S = 0.2
ASK_WITHIN_S = 5.0


class NotRolled(Exception):
    """A rolling restart could not be had, or failed; the sentence says why."""


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
