"""`python -m benchmarks.scheduling`, which is `make bench-scheduling`: whether scheduling keeps its promises.

Simulations first, then live servers; one line per promise at the end, and everything into a file. Meant for a
quiet machine. The exit code is 0 if all was measured; a promise that falls short does not change it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.findings import verdicts
from benchmarks.machine import machine, versions
from benchmarks.results import default_file
from benchmarks.sample import LoadFailed
from benchmarks.scheduling import cost, neighbours, overload, overload_live, overload_simulated, predictions
from benchmarks.scheduling.aims import AIMS
from benchmarks.scheduling.yardstick import yardstick
from benchmarks.server_under_test import NotTold, ServerFailed

BATCH = 16
"""The smallest for which a cost in batches is promised."""


def main(words: Sequence[str]) -> int:
    asked = _parser().parse_args(words)
    now = datetime.now(UTC)
    content: dict[str, Any] = {
        "at": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
    }
    findings: dict[str, float | None] = {}
    try:
        for part in asked.parts:
            MEASURE[part](asked, content, findings)
    except (ServerFailed, NotTold, LoadFailed) as fault:
        print(fault)
        return 1
    content["findings"] = findings
    content["promises"] = [" ".join(verdict.split()) for verdict in verdicts(AIMS, findings)]
    out = asked.out or default_file(now, "scheduling-quick" if asked.quick else "scheduling")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print("", *verdicts(AIMS, findings), "", f"all figures are in {out}", sep="\n")
    return 0


def _simulated(asked: argparse.Namespace, content: dict[str, Any], findings: dict[str, float | None]) -> None:
    seconds, search = (10.0, 1.0) if asked.quick else (120.0, 10.0)
    comparisons = overload_simulated.compare(seconds=seconds, search_seconds=search, say=_say)
    findings |= overload.findings("simulated", comparisons)
    content["overload, simulated"] = [asdict(each) for each in comparisons]
    print(*overload.lines("simulated", comparisons), sep="\n")


def _live(asked: argparse.Namespace, content: dict[str, Any], findings: dict[str, float | None]) -> None:
    seconds, search, most = (0.4, 0.5, 8) if asked.quick else (5.0, 3.0, overload_live.MOST_ROUNDS)
    told = overload_live.compare(seconds=seconds, search_seconds=search, say=_say, most_rounds=most)
    findings |= overload.findings("live", told.comparisons)
    findings |= predictions.findings(told.foretold_when_quiet, told.foretold, told.alone)
    content["overload, live"] = asdict(told)
    for which, shares in (("quiet", told.foretold_when_quiet), ("all", told.foretold)):
        each = ", ".join("-" if share is None else f"{share:.1%}" for share in shares)
        _say(f"live: foretold within a tenth at each load, {which} rounds: {each}")
    print(*overload.lines("live", told.comparisons), sep="\n")


def _cost(asked: argparse.Namespace, content: dict[str, Any], findings: dict[str, float | None]) -> None:
    requests, repeats = (5_000, 3) if asked.quick else (20_000, 15)
    costs = {}
    for how, rows in (("in batches", BATCH), ("alone", 1)):
        with yardstick() as prototype:
            found = cost.measure(rows, requests=requests, repeats=repeats, between=prototype.look)
        share = found.over(prototype.looks)
        findings |= {f"cost {how}": found.us, f"share {how}": share}
        costs[how] = asdict(found) | {"share": share, "prototype_us": prototype.looks}
        _say(
            f"cost {how}: {found.us:.2f} us a request, mean batch {found.mean_batch:.1f}; {share:.2f} of the "
            f"prototype's whole request, which takes {min(prototype.looks):.1f} us and more here"
        )
    content["cost"] = costs


def _neighbours(
    asked: argparse.Namespace, content: dict[str, Any], findings: dict[str, float | None]
) -> None:
    seconds, live_seconds = (20.0, 4.0) if asked.quick else (300.0, 30.0)
    found, outcomes = neighbours.measure(seconds=seconds, live_seconds=live_seconds, say=_say)
    findings |= found
    content["neighbours"] = {name: asdict(outcome) for name, outcome in outcomes.items()}


MEASURE = {"simulated": _simulated, "live": _live, "cost": _cost, "neighbours": _neighbours}


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scheduling", description="Measure what the scheduler promises."
    )
    option = parser.add_argument
    option(
        "--quick", action="store_true", help="shorter runs, for a look: some minutes instead of half an hour"
    )
    option("--parts", nargs="+", choices=MEASURE, default=[*MEASURE], metavar="PART", help=", ".join(MEASURE))
    option("--out", type=Path, metavar="FILE", help="default benchmarks/results/DATE-scheduling.json")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
