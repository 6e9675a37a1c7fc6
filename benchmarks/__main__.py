"""`python -m benchmarks`, which is `make bench`: what a request costs, model by model and door by door.

Lays the models into a temporary repository, serves it by a real server process, measures, and prints one table
and one line per promise. The exit code is 0 if every line has valid figures and the server left with 0.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks.call import Door
from benchmarks.machine import machine, versions
from benchmarks.measure import Plan, measure
from benchmarks.models import MODELS, lay
from benchmarks.promises import verdicts
from benchmarks.results import default_file, write
from benchmarks.server_under_test import NotTold, ServerFailed, tercet
from benchmarks.table import notes, table

WIDTH = 112  # where the output is no terminal


def main(words: Sequence[str]) -> int:
    asked = _parser().parse_args(words)
    plan = _plan(asked)
    now = datetime.now(UTC)
    facts = {
        "at": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "seconds": plan.seconds,
        "repeats": plan.repeats,
    }
    out = asked.out or default_file(now, "quick" if asked.quick else "bench")
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH)
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
        repository = Path(scratch, "models")
        console.print(f"about {plan.expected_s / 60:.0f} minutes; making {len(plan.models)} models")
        lay(plan.models, repository)
        try:
            with tercet(repository, Path(scratch, "server.log")) as server:
                report = measure([server], repository, plan, say=console.print)
        except (ServerFailed, NotTold) as fault:
            console.print(str(fault))
            return 1
    write(out, report, facts)
    console.print(table(report))
    for line in (*notes(report), "", *verdicts(report), "", f"every run is in {out}"):
        console.print(line)
    if server.exit_code:
        console.print(f"{server.name} answered SIGTERM with exit code {server.exit_code}")
    return 0 if server.exit_code == 0 and all(line.is_valid for line in report.lines) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure what a request costs, beside the bare session."
    )
    parser.add_argument(
        "--quick", action="store_true", help="one run of a second for each door, with its most clients"
    )
    parser.add_argument(
        "--seconds", type=_positive, help="of one timed run, 3 if not given; slow models take a multiple of it"
    )
    parser.add_argument("--repeats", type=_positive, help="timed runs of each line, 3 if not given")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME", help=", ".join(MODELS))
    parser.add_argument("--doors", nargs="+", type=Door, choices=list(Door), default=list(Door), metavar="DOOR", help=", ".join(Door))
    parser.add_argument("--clients", nargs="+", type=_positive, default=[], metavar="N", help="how many at once; each model has its own if not given")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where all is written; benchmarks/results/DATE-bench.json if not given")
    return parser
