"""What a server with a hundred loaded models takes while nobody asks anything."""

import time
from pathlib import Path
from typing import Any

from benchmarks.findings import Findings
from benchmarks.runs import Pace, Say
from benchmarks.server_under_test import tercet
from benchmarks.steady.crowd import lay_crowd

MODELS = 100
SETTLED_S = 10
"""What a start leaves to do in the background is none of the idle server's."""


def measure(scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    repository = scratch / "models"
    lay_crowd(repository, 5 if pace.quick else MODELS)
    seconds = 5 if pace.quick else 60
    with tercet(repository, scratch / "server.log") as server:
        time.sleep(1 if pace.quick else SETTLED_S)
        before = server.cpu_s()
        time.sleep(seconds)
        share = (server.cpu_s() - before) / seconds
    say(f"  idle for {seconds} s: {share:.2%} of a core")
    findings["idle share"] = None if pace.quick else share
    return {"seconds": seconds, "share": share}
