"""Tiers of a server, each process of them real, on ports that it keeps when it starts again.

Between any two processes lies a wire of their own, which a test can harm.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.relay import Relay
from tests.server_process import ROOT, free_ports

READY_WITHIN_S = 60.0
OPTIONS = (
    *("--verify-models=false", "--log-format=json", "--access-log=false", "--exit-timeout-secs=10"),
    *("--repository-settle-secs=0.1", "--repository-poll-secs=1", "--model-control-mode=poll"),
)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a process has of what there is to leak."""

    fds: int
    threads: int
    rss_bytes: int


class Process:
    """One process of a tier; it may be ended and started again, at the same address."""

    def __init__(
        self, name: str, role: str, repository: Path | None, options: Sequence[str], log: Path
    ) -> None:
        ports = free_ports(3)
        self.name, self.role, self.repository = name, role, repository
        self.http, self.grpc, _ = (f"127.0.0.1:{port}" for port in ports)
        self.log = log
        self._command = [
            *(sys.executable, "-m", "server.cli", "serve"),
            *([f"--model-repository={repository}"] if repository else []),
            *("--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"),
            *(f"--http-port={ports[0]}", f"--grpc-port={ports[1]}", f"--metrics-port={ports[2]}"),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_there(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT
            )

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"http://{self.http}/v2/health/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def await_ready(self) -> None:
        self.until(self.is_ready, READY_WITHIN_S)

    def until(self, holds: Callable[[], bool], within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            if not self.is_there or time.monotonic() > deadline:
                how = f"not so within {within_s} s" if self.is_there else "it has ended"
                raise AssertionError(f"{self.name}: {how}; its log:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """As the machine does that takes its power away."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)

    def terminate(self, within_s: float = 30.0) -> int:
        """As an orchestrator does: the exit code, once it has left."""
        self.signal(signal.SIGTERM)
        assert self._process is not None
        return self._process.wait(within_s)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def holdings(self) -> Holdings:
        process = psutil.Process(self.pid)
        return Holdings(process.num_fds(), process.num_threads(), process.memory_info().rss)

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass
class Fleet:
    """All of it. `wires` lead from one process to another: (from, to) -> the relay between them."""

    processes: dict[str, Process] = field(default_factory=dict)
    wires: dict[tuple[str, str], Relay] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]

    def of(self, role: str) -> list[Process]:
        return [process for process in self.processes.values() if process.role == role]

    def wires_of(self, name: str) -> list[Relay]:
        """Those that end at a process."""
        return [relay for (_, end), relay in self.wires.items() if end == name]


AHEAD = {"gateway": ("pre", "predict", "post"), "pre": ("predict",), "predict": ("post",), "post": ()}


@contextmanager
def fleet(
    scratch: Path,
    repository_of: Callable[[str], Path],
    counts: dict[str, int],
    options: Sequence[str] = (),
    *,
    wired: bool = True,
) -> Iterator[Fleet]:
    """So many processes of each role, ready; `repository_of` a role is its own. Stopped from the front on.

    Unless they are `wired`, nothing lies between any two, and they talk as processes of one host do.
    """
    made = Fleet()
    with ExitStack() as stack:
        for role in ("post", "predict", "pre", "gateway"):
            for number in range(1, counts.get(role, 0) + 1):
                name = f"{role}-{number}"
                ahead = []
                for stage in AHEAD[role]:
                    ends = made.of(stage)
                    addresses = [end.grpc for end in ends]
                    if wired:
                        wires = [stack.enter_context(Relay(address)) for address in addresses]
                        made.wires |= {(name, end.name): wire for end, wire in zip(ends, wires, strict=True)}
                        addresses = [wire.address for wire in wires]
                    if ends:
                        ahead.append(f"--{stage}-endpoints={','.join(addresses)}")
                of_models = OPTIONS if role != "gateway" else OPTIONS[:4]
                process = Process(
                    name,
                    role,
                    None if role == "gateway" else repository_of(role),
                    [f"--role={role}", *of_models, *ahead, *options],
                    scratch / f"{name}.log",
                )
                made.processes[name] = process
                stack.callback(process.stop)
                process.start()
        for process in made.processes.values():
            process.await_ready()
        yield made
