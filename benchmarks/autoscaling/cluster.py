"""Tiers whose processes come and go, as the pods of four Deployments would.

Each tier has addresses for the most processes that it may have, and everybody is told of all of them at the
start: at those where nobody runs, nobody answers, and a process that comes is found as one that was lost.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.autoscaling.pipelines import STAGE_THREADS
from benchmarks.call import HOST
from benchmarks.server_under_test import ROOT, ServerFailed, free_ports
from benchmarks.tiers.processes import AHEAD

TIERS = ("pre", "predict", "post")
GATEWAY = "gateway"
ASK_S = 1.0
"""A process that has not answered by then is counted as one that says nothing."""

START_S = 60.0
STOP_S = 60.0
LAST_WORDS_BYTES = 3000


@dataclass(slots=True)
class Place:
    """An address of a tier, and the process that runs there, if one does.

    leaving   whether it has been told to go
    """

    role: str
    number: int
    http_port: int
    grpc_port: int
    metrics_port: int
    process: asyncio.subprocess.Process | None = None
    leaving: bool = False

    @property
    def is_free(self) -> bool:
        return self.process is None or self.process.returncode is not None

    @property
    def is_wanted(self) -> bool:
        return not self.is_free and not self.leaving


@dataclass(slots=True)
class Cluster:
    """Lives on the event loop; `running` opens and closes it."""

    repository: Path
    logs: Path
    places: Mapping[str, Sequence[Place]]
    client: httpx.AsyncClient
    leaving: list[Place] = field(default_factory=list)

    @property
    def front(self) -> Place:
        """Whom clients ask."""
        return self.places[GATEWAY][0]

    def wanted(self, role: str) -> list[Place]:
        return [place for place in self.places[role] if place.is_wanted]

    async def scale(self, role: str, replicas: int) -> None:
        """Start or tell to go as many as it takes; waits for neither."""
        wanted = self.wanted(role)
        for place in wanted[replicas:]:
            assert place.process is not None
            place.leaving = True
            place.process.send_signal(signal.SIGTERM)
        free = [place for place in self.places[role] if place.is_free]
        for place in free[: max(0, replicas - len(wanted))]:
            await self._start(place)

    async def is_ready(self, place: Place) -> bool:
        try:
            answer = await self.client.get(f"http://{HOST}:{place.http_port}/v2/health/ready")
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    async def all_ready(self) -> None:
        """Wait for everybody. Raises `ServerFailed` where one does not come up."""
        for places in self.places.values():
            for place in places:
                while place.is_wanted:
                    if await self.is_ready(place):
                        break
                    await asyncio.sleep(0.1)
                if place.process is not None and place.process.returncode is not None:
                    raise ServerFailed(f"{place.role} {place.number} ended:\n{self._last_words(place)}")

    async def gauge(self, place: Place, name: str) -> float | None:
        """The highest of the process's values of a gauge; None where it shows none."""
        try:
            text = (await self.client.get(f"http://{HOST}:{place.metrics_port}/metrics")).text
        except httpx.HTTPError:
            return None
        values = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return max(map(float, values), default=None)

    async def stop(self) -> None:
        """From the front to the back, each told to go and waited for."""
        for role in (GATEWAY, *TIERS):
            for place in self.wanted(role):
                assert place.process is not None
                place.process.send_signal(signal.SIGTERM)
            for place in self.places[role]:
                if place.process is None:
                    continue
                try:
                    async with asyncio.timeout(STOP_S):
                        await place.process.wait()
                except TimeoutError:
                    with suppress(ProcessLookupError):
                        place.process.kill()
                    await place.process.wait()

    async def _start(self, place: Place) -> None:
        options = [f"--role={place.role}"]
        if place.role != GATEWAY:
            options += [f"--model-repository={self.repository}", "--verify-models=false"]
        if place.role in ("pre", "post"):
            options.append(f"--stage-threads={STAGE_THREADS}")
        for stage in AHEAD[place.role]:
            ends = ",".join(f"{HOST}:{each.grpc_port}" for each in self.places[stage])
            options.append(f"--{stage}-endpoints={ends}")
        options += [f"--{door}-address={HOST}" for door in ("http", "grpc", "metrics")]
        options.append(f"--http-port={place.http_port}")
        options.append(f"--grpc-port={place.grpc_port}")
        options.append(f"--metrics-port={place.metrics_port}")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TERCET_")}
        with self._log(place).open("ab") as log:
            place.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "server.cli", "serve", *options),
                cwd=ROOT,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        place.leaving = False

    def _log(self, place: Place) -> Path:
        return self.logs / f"{place.role}-{place.number}.log"

    def _last_words(self, place: Place) -> str:
        return self._log(place).read_bytes()[-LAST_WORDS_BYTES:].decode(errors="replace")


@asynccontextmanager
async def running(repository: Path, logs: Path, most: int) -> AsyncIterator[Cluster]:
    """One process of each tier and a gateway, ready; room for `most` of each tier. Stopped at the end."""
    places = {}
    for role, count in (*dict.fromkeys(TIERS, most).items(), (GATEWAY, 1)):
        ports = free_ports(3 * count)
        triples = zip(ports[::3], ports[1::3], ports[2::3], strict=True)
        places[role] = [Place(role, number, *each) for number, each in enumerate(triples)]
    async with httpx.AsyncClient(timeout=ASK_S) as client:
        cluster = Cluster(repository, logs, places, client)
        try:
            for role in (*TIERS[::-1], GATEWAY):
                await cluster.scale(role, 1)
            async with asyncio.timeout(START_S):
                await cluster.all_ready()
            yield cluster
        finally:
            await cluster.stop()
