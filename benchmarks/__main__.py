"""`python -m benchmarks`, which is `make bench`: what a request costs, model by model and door by door.

Lays the models into a temporary repository, serves it by a real server process, measures, and prints one
table and one line per promise. The exit code is 0 if every line has valid figures and the server left with 0;
a promise that falls short does not change it.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks.call import Door
from benchmarks.machine import machine, versions
from benchmarks.measure import Plan, measure
from benchmarks.models import MODELS, Model, lay
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
        console.print(f"about {plan.expected_s / 60:.0f} min; making {len(plan.models)} models")
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


def _plan(asked: argparse.Namespace) -> Plan:
    def clients(model: Model) -> tuple[int, ...]:
        if asked.clients:
            return tuple(asked.clients)
        return (max(model.clients),) if asked.quick else model.clients

    return Plan(
        models=[replace(MODELS[name], clients=clients(MODELS[name])) for name in asked.models],
        doors=asked.doors,
        seconds=asked.seconds or (1 if asked.quick else 3),
        repeats=asked.repeats or (1 if asked.quick else 3),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure what a request costs, beside the bare session."
    )
    option = parser.add_argument
    option(
        "--quick", action="store_true", help="one run of a second at each door, with the most clients only"
    )
    option(
        "--seconds", type=_positive, metavar="N", help="of a timed run, default 3; large takes four times it"
    )
    option("--models", nargs="+", choices=MODELS, default=[*MODELS], metavar="NAME", help=", ".join(MODELS))
    option(
        "--doors",
        nargs="+",
        choices=[*Door],
        type=Door,
        default=[*Door],
        metavar="DOOR",
        help=", ".join(Door),
    )
    option(
        "--clients",
        nargs="+",
        type=_positive,
        metavar="N",
        help="how many at once; default: as suits the model",
    )
    option("--repeats", type=_positive, metavar="N", help="timed runs of each line, default 3")
    option(
        "--out", type=Path, metavar="FILE", help="for all runs; default benchmarks/results/DATE-bench.json"
    )
    return parser


def _positive(written: str) -> int:
    number = int(written)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{written}: must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
