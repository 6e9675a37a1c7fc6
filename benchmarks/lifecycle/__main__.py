"""`python -m benchmarks.lifecycle`, which is `make bench-lifecycle`: what keeping many models at hand costs.

Prints one line for each promise, and keeps all figures in a file. The exit code is 0 if everything could be
measured; a promise that falls short does not change it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.lifecycle import cold, crowd, cycles, eviction, workers
from benchmarks.lifecycle.folders import FolderFigures, lay_folders, measure_folders
from benchmarks.machine import machine, versions
from benchmarks.promises import Promise
from benchmarks.results import default_file, save
from benchmarks.server_under_test import NotTold, ServerFailed

T = TypeVar("T")

POLL_S = 15
"""The default interval between two scans."""

AT_REST_S = 2.0
"""Longer than files must lie still before they are offered."""

PROMISES: tuple[Promise[FolderFigures], ...] = (
    Promise(name="10,000 folders: first scan, s", figure=lambda f: f.first_scan_s, form=".2f", at_most=10),
    Promise(
        name="10,000 folders: a poll's share of one core",
        figure=lambda f: f.poll_cpu_s / POLL_S,
        form=".1%",
        at_most=0.04,
    ),
    Promise(
        name="10,000 folders: KiB for each model not loaded",
        figure=lambda f: f.memory_kib,
        form=".1f",
        at_most=20,
    ),
)


def main(words: Sequence[str]) -> int:
    asked = _parser().parse_args(words)
    now = datetime.now(UTC)
    content: dict[str, Any] = {
        "at": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
    }
    verdicts: list[str] = []
    try:
        for part in asked.parts:
            verdicts += MEASURE[part](asked, content)
    except (ServerFailed, NotTold, crowd.NoBudget) as fault:
        print(fault)
        return 1
    content["promises"] = [" ".join(verdict.split()) for verdict in verdicts]
    out = asked.out or default_file(now, "lifecycle-quick" if asked.quick else "lifecycle")
    save(out, content)
    for line in ("", *verdicts, f"every figure is in {out}"):
        print(line)
    return 0


def _folders(asked: argparse.Namespace, content: dict[str, Any]) -> list[str]:
    folders = asked.folders or (1_000 if asked.quick else 10_000)
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
        _say(f"about a minute; making {folders} folders")
        lay_folders(Path(scratch), folders)
        time.sleep(AT_REST_S)
        figures = measure_folders(Path(scratch))
    content["folders"] = asdict(figures)
    return [*_verdicts(PROMISES, figures)]


def _cycles(asked: argparse.Namespace, content: dict[str, Any]) -> list[str]:
    count = 100 if asked.quick else 1_000
    _say(f"some minutes; loading and unloading three models {count} times")
    figures = cycles.measure_cycles(count)
    content["cycles"] = asdict(figures)
    print(*cycles.lines(figures), sep="\n")
    return [*_verdicts(cycles.PROMISES, figures)]


def _workers(asked: argparse.Namespace, content: dict[str, Any]) -> list[str]:
    _say("some seconds; running a model here and in a process of its own")
    figures = workers.measure_workers(1 if asked.quick else workers.ROUNDS)
    content["workers"] = asdict(figures)
    print(*workers.lines(figures), sep="\n")
    return [*_verdicts(workers.PROMISES, figures)]


def _eviction(asked: argparse.Namespace, content: dict[str, Any]) -> list[str]:
    _say("about a minute; replaying traces through the policies of eviction")
    figures = eviction.measure_eviction(requests=2_000 if asked.quick else 20_000)
    content["eviction"] = eviction.as_json(figures)
    print(*eviction.lines(figures), sep="\n")
    return [*_verdicts(eviction.PROMISES, figures)]


def _crowd(asked: argparse.Namespace, content: dict[str, Any]) -> list[str]:
    models, seconds = (20, 5.0) if asked.quick else (100, 60.0)
    _say(f"two minutes; {models} models under a budget for a tenth of them, {seconds:.0f} s of traffic")
    figures = crowd.measure_crowd(models=models, room_for=max(2, models // 10), seconds=seconds)
    content["crowd"] = asdict(figures)
    print(*crowd.lines(figures), sep="\n")
    return [*_verdicts(crowd.PROMISES, figures)]


def _cold(asked: argparse.Namespace, content: dict[str, Any]) -> list[str]:
    _say("half a minute; asking for a model of 100 MB that is not in memory, again and again")
    figures = cold.measure_cold(rounds=3 if asked.quick else 60)
    content["cold"] = asdict(figures)
    print(*cold.lines(figures), sep="\n")
    return [*_verdicts(cold.PROMISES, figures)]


MEASURE: Mapping[str, Callable[[argparse.Namespace, dict[str, Any]], list[str]]] = {
    "folders": _folders,
    "cycles": _cycles,
    "workers": _workers,
    "eviction": _eviction,
    "crowd": _crowd,
    "cold": _cold,
}
"""What each part runs; it adds its figures to the content and gives back a line for each promise."""


def _verdicts(promises: Sequence[Promise[T]], figures: T) -> Iterator[str]:
    for promise in promises:
        figure = promise.figure(figures)
        if figure is not None:
            yield promise.verdict(figure)


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lifecycle", description="Measure what keeping many models at hand costs."
    )
    option = parser.add_argument
    option("--parts", nargs="+", choices=MEASURE, default=[*MEASURE], metavar="PART", help=", ".join(MEASURE))
    option("--quick", action="store_true", help="smaller and shorter, for a look")
    option("--folders", type=int, metavar="N", help="default: 10,000")
    option("--out", type=Path, metavar="FILE", help="default benchmarks/results/DATE-lifecycle.json")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
