"""A server in a process of its own: started, asked about itself, measured from outside, and stopped.

`ServerUnderTest` holds for any server in any language: its processor time is that of its process tree, and
what it alone can tell (batches) it is asked over the Open Inference Protocol. `tercet` starts ours.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from benchmarks.call import HOST

ROOT = Path(__file__).resolve().parents[1]
START_DEADLINE_S = 90
STOP_DEADLINE_S = 60
ASK_DEADLINE_S = 10
LAST_WORDS_BYTES = 3000


class ServerFailed(Exception):
    """It did not come up, went away, or will not stop; the sentence ends in the last lines of its log."""


class NotTold(Exception):
    """The server answers, but not this question: the sentence has what it said."""


@dataclass(frozen=True, slots=True)
class Batches:
    """Rows run, and runs, since the model was loaded."""

    rows: int
    runs: int


def mean_batch(before: Batches | None, after: Batches | None) -> float | None:
    """Rows in a run between two readings; None if the server does not tell, or ran nothing."""
    if before is None or after is None or after.runs == before.runs:
        return None
    return (after.rows - before.rows) / (after.runs - before.runs)


class ServerUnderTest:
    """A running server; `exit_code` is known once it was stopped.

    grpc_ca  who has signed the certificate of its gRPC port; None where that speaks no TLS
    """

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        log: Path,
        *,
        http_port: int,
        grpc_port: int,
        metrics_port: int = 0,
    ) -> None:
        self.name = name
        self.http_port = http_port
        self.grpc_port = grpc_port
        self.metrics_port = metrics_port
        self.grpc_ca: Path | None = None
        self.exit_code: int | None = None
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def await_ready(self, within_s: float = START_DEADLINE_S) -> None:
        """Wait until it says that it is ready, with all its models."""
        deadline = time.monotonic() + within_s
        while not self._is_ready():
            self._must_run()
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready within {within_s} s")
            time.sleep(0.05)

    def cpu_s(self) -> float:
        """User and system time of its process and all below it, those that ended too."""
        self._must_run()
        root = psutil.Process(self._process.pid)
        return sum(_cpu_s(process) for process in (root, *root.children(recursive=True)))

    def max_batch_size(self, model: str) -> int:
        """As configured, or filled in where no configuration says. Raises `NotTold`."""
        return int(self._get(f"/v2/models/{quote(model)}/config")["max_batch_size"])

    def batches(self, model: str) -> Batches | None:
        """None from a server that keeps no such counts."""
        try:
            stats = self._get(f"/v2/models/{quote(model)}/versions/1/stats")["model_stats"][0]
        except NotTold:
            return None
        return Batches(rows=stats["inference_count"], runs=stats["execution_count"])

    def metrics(self) -> str:
        """Every metric, as Prometheus would scrape it."""
        with closing(
            http.client.HTTPConnection(HOST, self.metrics_port, timeout=ASK_DEADLINE_S)
        ) as connection:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()

    def forget_log(self) -> None:
        """Empty its log: a line for each request would fill the disk, and only the end is ever wanted."""
        os.truncate(self._log, 0)

    def stop(self) -> None:
        """SIGTERM, and wait. Raises `ServerFailed` if it does not end in time: then it was killed."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self.exit_code = self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.exit_code = self._process.wait()
            raise self._failed(f"did not end within {STOP_DEADLINE_S} s of SIGTERM") from None

    def _is_ready(self) -> bool:
        try:
            self._get("/v2/health/ready")
        except (OSError, http.client.HTTPException, NotTold):  # nobody there yet, or not ready
            return False
        return True

    def _get(self, path: str) -> Any:
        with closing(http.client.HTTPConnection(HOST, self.http_port, timeout=ASK_DEADLINE_S)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        if response.status != 200:
            said = body[:200].decode(errors="replace")
            raise NotTold(f"{self.name} answered {path} with status {response.status}: {said}")
        return json.loads(body) if body else None

    def _must_run(self) -> None:
        code = self._process.poll()
        if code is not None:
            raise self._failed(f"ended with exit code {code}")

    def _failed(self, what: str) -> ServerFailed:
        last_words = self._log.read_bytes()[-LAST_WORDS_BYTES:].decode(errors="replace")
        return ServerFailed(f"{self.name} {what}. The end of its log:\n{last_words}")


@contextmanager
def tercet(repository: Path, log: Path, options: Sequence[str] = ()) -> Iterator[ServerUnderTest]:
    """Serve `repository` with the code of this checkout, at its defaults but for the `options`.

    Leaving stops the server.
    """
    with started("tercet", [str(repository), *options], log) as server:
        yield server


@contextmanager
def started(
    name: str,
    options: Sequence[str],
    log: Path,
    held: Sequence[int] | None = None,
    *,
    under: Sequence[str] = (),
    within_s: float = START_DEADLINE_S,
) -> Iterator[ServerUnderTest]:
    """A process of this checkout with these options, ready, on the cores that it is `held` to.

    `under` are the words of a program that runs it.
    """
    http_port, grpc_port, metrics_port = free_ports(3)
    command = [*under, sys.executable, "-m", "server.cli", "serve", *options]
    command += [f"--http-address={HOST}", f"--grpc-address={HOST}"]
    command += [
        f"--http-port={http_port}",
        f"--grpc-port={grpc_port}",
        f"--metrics-port={metrics_port}",
    ]
    with _process(command, log) as process:
        if held is not None:
            os.sched_setaffinity(process.pid, held)
        server = ServerUnderTest(
            name, process, log, http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port
        )
        try:
            server.await_ready(within_s)
            yield server
        finally:
            server.stop()


@contextmanager
def _process(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start it with its output in `log`, which it appends to, and with no option from our environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TERCET_")}
    with log.open("ab") as output:
        yield subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # it ended since it was listed; its parent's times have it now
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now. All are held together while they are chosen, so they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
