"""`python -m benchmarks.profile`, which is `make profile`: where the time of a request goes, step by step.

A server with the tiny model is asked by 64 clients, at each door; while it is, py-spy and perf look into it.
A table for each door, every figure in a file, and a page for the next reader.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.call import Door
from benchmarks.findings import Findings
from benchmarks.models import MODELS, lay
from benchmarks.parts import parser, run
from benchmarks.profile import sampling, steps
from benchmarks.profile.page import table
from benchmarks.runs import Pace, Question, Say, Setup, prepare, timed
from benchmarks.server_under_test import tercet

MODEL, CLIENTS = "tiny", 64
SECONDS = 10
INNERMOST = 30
"""Frames that are told by name."""


def measure(door: Door, scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    """Once without anybody looking, for what a request costs; then under each of the two."""
    model = MODELS[MODEL]
    lay([model], scratch / "models")
    with tercet(scratch / "models", scratch / "server.log") as server:
        setup = Setup("tercet", server, server.cpu_s)
        question = Question(MODEL, model.row(), door, CLIENTS)
        prepare(setup, question)
        figures = timed(setup, question, pace.seconds)
        spy = sampling.interpreter(server.pid, pace.seconds, scratch)
        timed(setup, question, pace.seconds + 1)
        counted = steps.stacks(spy.seen().read_text(encoding="utf-8"))
        found: Mapping[str, float] = {}
        perf = sampling.processor(server.pid, pace.seconds, scratch)
        if perf is not None:
            timed(setup, question, pace.seconds + 1)
            found = steps.objects(sampling.report(perf.seen()))
    held = steps.holding(counted)
    shares = steps.spent(held, found)
    findings |= {f"{door} {step}": share for step, share in shares.items()}
    return {
        "figures": figures,
        "steps": shares,
        "holding": held,
        "objects": found,
        "innermost": steps.innermost(counted, INNERMOST),
        "samples": counted.total(),
    }


def main(words: Sequence[str]) -> int:
    known = parser("profile", "Tell where the time of a request goes.", Door, seconds=SECONDS, repeats=1)
    parts = {str(door): partial(measure, door) for door in Door}
    return run("profile", parts, (), known.parse_args(words), _shown)


def _shown(content: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield from table(content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
