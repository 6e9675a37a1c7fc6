"""The fleet as others see it, on one port: its metrics, and how each process is.

    GET /                     JSON: whether the fleet lives and is ready, and every process
    GET /metrics              Prometheus: those of all processes, each with its role and process, and our own
    GET /v2/health/live       200, or 503 once it is on its way out
    GET /v2/health/ready      200 while somebody of every role is ready, else 503

It only shows. What changes the fleet comes as a signal, which the kernel takes from its own user alone.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import suppress

import structlog

from server.supervisor.exposition import joined
from server.supervisor.fetch import NoAnswer, fetch
from server.supervisor.fleet import Fleet
from server.supervisor.plan import Seat
from server.supervisor.reserve import PortTaken
from server.supervisor.state import SeatState

log = structlog.get_logger(__name__)

METRICS = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json"
REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
LONGEST_HEAD = 16_384
ASKER_S = 5.0
"""How long somebody may take to ask, and to take the answer."""

MOST_AT_ONCE = 64


class View:
    """Answers while it is entered. Raises `PortTaken`."""

    def __init__(self, fleet: Fleet, address: str, port: int, *, scrape_s: float) -> None:
        self._fleet = fleet
        self._address = address
        self._port = port
        self._scrape_s = scrape_s
        self._at_once = 0
        self._server: asyncio.Server

    async def __aenter__(self) -> "View":
        try:
            self._server = await asyncio.start_server(
                self._serve, self._address, self._port, limit=LONGEST_HEAD
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise PortTaken(f"cannot listen on {self._address}:{self._port}: {reason}") from None
        log.info("fleet_view", address=self._address, port=self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection. Never raises: whoever asks badly is left."""
        self._at_once += 1
        try:
            if self._at_once <= MOST_AT_ONCE:
                async with asyncio.timeout(ASKER_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = await self._answer(*head.split(b"\r\n", 1)[0].decode().split(" ")[:2])
                lines = (
                    f"HTTP/1.1 {status} {REASONS[status]}",
                    f"content-type: {kind}",
                    f"content-length: {len(body)}",
                    "connection: close",
                )
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
                writer.write(b"" if head.startswith(b"HEAD ") else body)
                async with asyncio.timeout(ASKER_S):
                    await writer.drain()
        except (OSError, EOFError, ValueError, TypeError, TimeoutError, asyncio.LimitOverrunError):
            pass  # he left, or did not speak HTTP
        finally:
            self._at_once -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, method: str, target: str) -> tuple[int, str, bytes]:
        fleet = self._fleet
        if method not in ("GET", "HEAD"):
            return 405, JSON, b'{"error":"use GET"}'
        match target.partition("?")[0]:
            case "/":
                return 200, JSON, json.dumps(self._report(), indent=1).encode()
            case "/metrics":
                return 200, METRICS, (await self._metrics()).encode()
            case "/v2/health/live":
                return 200 if fleet.live else 503, JSON, b""
            case "/v2/health/ready":
                return 200 if fleet.ready else 503, JSON, b""
            case _:
                return 404, JSON, b'{"error":"there are /, /metrics, /v2/health/live and /v2/health/ready"}'

    def _report(self) -> dict[str, object]:
        fleet = self._fleet
        return {
            "live": fleet.live,
            "ready": fleet.ready,
            "supervisor": {"pid": os.getpid(), "born": born(os.getpid())},
            "rolling_restart": {
                "number": fleet.rolling.number,
                "state": str(fleet.rolling.state),
                "reason": fleet.rolling.reason,
            },
            "processes": fleet.report(),
        }

    async def _metrics(self) -> str:
        pages: dict[Seat, str] = {}

        async def scrape(seat: Seat, port: int) -> None:
            with suppress(NoAnswer):
                status, body = await fetch(port, "/metrics", within_s=self._scrape_s)
                if status == 200:
                    pages[seat] = body.decode(errors="replace")

        async with asyncio.TaskGroup() as scrapes:
            for seat, keeper in self._fleet.keepers.items():
                if keeper.child is not None and not keeper.child.ended.is_set():
                    scrapes.create_task(scrape(seat, keeper.child.metrics_port))
        in_order = {seat: pages[seat] for seat in self._fleet.keepers if seat in pages}
        return "".join(f"{line}\n" for line in self._own(frozenset(pages))) + joined(in_order)

    def _own(self, answered: frozenset[Seat]) -> Iterator[str]:
        seats = self._fleet.keepers
        labels = {seat: f'role="{seat.role}",process="{seat.number}"' for seat in seats}
        yield "# HELP tercet_process_up Whether the process has given its metrics just now"
        yield "# TYPE tercet_process_up gauge"
        yield from (f"tercet_process_up{{{labels[seat]}}} {int(seat in answered)}" for seat in seats)
        yield "# HELP tercet_process_ready Whether the process said when last asked that it is ready"
        yield "# TYPE tercet_process_ready gauge"
        yield from (f"tercet_process_ready{{{labels[seat]}}} {int(seats[seat].ready)}" for seat in seats)
        yield "# HELP tercet_process_state Where the process stands: 1 for the state that it is in"
        yield "# TYPE tercet_process_state gauge"
        for seat, keeper in seats.items():
            for state in SeatState:
                yield f'tercet_process_state{{{labels[seat]},state="{state}"}} {int(keeper.state is state)}'
        yield "# HELP tercet_process_restarts_total Ends of the process that nobody asked for"
        yield "# TYPE tercet_process_restarts_total counter"
        yield from (
            f"tercet_process_restarts_total{{{labels[seat]}}} {seats[seat].failures.ever}" for seat in seats
        )
        yield "# HELP tercet_process_back_off_seconds The wait before the next start that is under way, or 0"
        yield "# TYPE tercet_process_back_off_seconds gauge"
        yield from (
            f"tercet_process_back_off_seconds{{{labels[seat]}}} {seats[seat].back_off_s:g}" for seat in seats
        )


def born(pid: int) -> int:
    """When the process began, in the kernel's ticks since boot: with its id it names one process for good."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[19])
