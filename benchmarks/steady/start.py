"""How long a server takes from its first instruction to its first answer, of versions that it knows."""

import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.ask import ask
from benchmarks.call import Door
from benchmarks.codec import encode
from benchmarks.findings import Findings
from benchmarks.models import MODELS, lay
from benchmarks.runs import Pace, Say
from benchmarks.server_under_test import tercet


def measure(scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    """The first start tries the version and remembers it in its state folder; it is not counted."""
    repository = scratch / "models"
    lay([MODELS["tiny"]], repository)
    took = [_once(repository, scratch) for _ in range(1 + pace.repeats)]
    say(f"  start: {took[0]:.2f} s, then " + ", ".join(f"{each:.2f}" for each in took[1:]) + " s")
    findings["start s"] = median(took[1:])
    return {"first_s": took[0], "runs_s": took[1:]}


def _once(repository: Path, scratch: Path) -> float:
    began = time.monotonic()
    with tercet(repository, scratch / "server.log", [f"--state-dir={scratch / 'state'}"]) as server:
        tiny = MODELS["tiny"]
        ask(encode(Door.BINARY, "tiny", tiny.row(), http_port=server.http_port, grpc_port=server.grpc_port))
        return time.monotonic() - began
