"""A real server in a process of its own, as an operator would start it."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "model_repository"

READY_WITHIN_S = 90.0
"""On a machine that is busy with other tests, which may give a server a tenth of a processor."""


FIRST_PORT, PORTS_EACH = 10_000, 2_000
"""Below those that the system gives to clients' connections, and for each process of a test run its own."""

_next_port = count(random.randrange(PORTS_EACH))


def free_ports(many: int) -> list[int]:
    """Ports that nobody listens on, and that nobody else is about to take."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST_PORT + worker % 10 * PORTS_EACH
    found: list[int] = []
    while len(found) < many:
        port = first + next(_next_port) % PORTS_EACH
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        found.append(port)
    return found


class Server:
    """What a test knows of a running server.

    http, grpc    addresses as clients take them, without a scheme
    log           what it has written so far
    """

    def __init__(self, process: subprocess.Popen[bytes], ports: Sequence[int], log_file: Path) -> None:
        self._process = process
        self.http, self.grpc, self.metrics = (f"127.0.0.1:{port}" for port in ports)
        self._log_file = log_file
        self.client = httpx.Client(base_url=f"http://{self.http}", timeout=30)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log_file.read_text(errors="replace")

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def rss_bytes(self) -> int:
        return psutil.Process(self.pid).memory_info().rss

    def ready(self) -> bool:
        try:
            return self.client.get("/v2/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def index(self) -> dict[tuple[str, str], tuple[str, str]]:
        """(model, version) -> (state, reason)."""
        lines = self.client.post("/v2/repository/index").json()
        return {
            (line["name"], line.get("version", "")): (line.get("state", ""), line.get("reason", ""))
            for line in lines
        }

    def until(self, holds, within_s: float = 30.0, every_s: float = 0.05) -> None:
        """Wait until `holds()`; fail with the log if it does not in time or the server is gone."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.returncode is not None:
                raise AssertionError(f"the server ended with {self.returncode}:\n{self.log[-4000:]}")
            if holds():
                return
            time.sleep(every_s)
        raise AssertionError(f"not so within {within_s} s; the log:\n{self.log[-4000:]}")

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal, and do not wait."""
        self._process.send_signal(number)

    def wait(self, within_s: float = 30.0) -> int:
        """The exit code, once it is gone."""
        return self._process.wait(within_s)

    def stop(self) -> int:
        if self.returncode is None:
            self.terminate()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the server did not stop:\n{self.log[-4000:]}") from None
        finally:
            self.client.close()


@contextmanager
def running(
    log_file: Path,
    *repositories: Path,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    wait: bool = True,
    program: Sequence[str] = ("-m", "server.cli"),
) -> Iterator[Server]:
    """Serve these repositories until the block is left; with `wait`, from when it is ready.

    `program` is what Python runs: the server, or one that a test has made to fail. Its versions are
    loaded without a trial before, which costs a new process most of a second, unless `options` say so.
    """
    if not any(option.startswith("--verify-models") for option in options):
        options = (*options, "--verify-models=false")
    ports = free_ports(3)
    command = [
        *(sys.executable, *program, "serve"),
        *map(str, repositories),
        *("--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"),
        *(f"--http-port={ports[0]}", f"--grpc-port={ports[1]}", f"--metrics-port={ports[2]}"),
        *options,
    ]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **(environment or {})}
        )
    server = Server(process, ports, log_file)
    try:
        if wait:
            server.until(server.ready, within_s=READY_WITHIN_S)
        yield server
    finally:
        server.stop()
