"""A process as some file declares it, started here: only its addresses and its places are others.

What is put in the place of what is said by the caller, word by word, so that a test shows all in which it
differs from life. Ports are read where the file has them, from an option or a variable, and replaced by free
ones; every door listens on the loopback.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.server_process import ROOT, Server, free_ports

DOORS = {"http": 8000, "grpc": 8001, "metrics": 8002}
"""Door -> the port that it has where nobody names one."""


@dataclass(frozen=True)
class Declared:
    """What a file says of one process.

    words         behind `tercet`: the command, repositories, options
    environment   variables that it sets
    """

    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def swapped(self, swaps: Mapping[str, str]) -> "Declared":
        """With these texts in the place of those, wherever they stand; of two that fit, the longer."""
        longest_first = sorted(swaps, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

        def swap(text: str) -> str:
            return pattern.sub(lambda found: swaps[found[0]], text)

        return Declared(
            [swap(word) for word in self.words],
            {name: swap(value) for name, value in self.environment.items()},
        )

    def port(self, door: str) -> int:
        """Where it listens, as declared."""
        for word in self.words:
            if word.startswith(f"--{door}-port="):
                return int(word.partition("=")[2])
        return int(self.environment.get(f"TERCET_{door.upper()}_PORT", DOORS[door]))

    def at(self, ports: Mapping[str, int]) -> "Declared":
        """On the loopback, at these ports."""
        opened = [f"--{door}-{what}" for door in DOORS for what in ("port", "address")]
        kept = [word for word in self.words if word.partition("=")[0] not in opened]
        placed = [f"--{door}-port={port}" for door, port in ports.items()]
        return Declared(
            [*kept, *placed, *(f"--{door}-address=127.0.0.1" for door in DOORS)], self.environment
        )


@contextmanager
def started(
    declared: Declared,
    log_file: Path,
    *,
    ports: Sequence[int] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run it until the block is left, at free ports or these (http, grpc, metrics). Does not wait."""
    ports = ports or free_ports(3)
    here = declared.at(dict(zip(DOORS, ports, strict=True)))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TERCET_")}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "server.cli", *here.words],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**inherited, **here.environment, **(environment or {})},
        )
    server = Server(process, ports, log_file)
    try:
        yield server
    finally:
        if server.returncode is None:
            server.stop()
        server.client.close()


def leaves(server: Server, within_s: float) -> int:
    """Told to go as Kubernetes, Compose and systemd do; its exit code. Raises where it takes longer."""
    server.terminate(signal.SIGTERM)
    return server.wait(within_s)
