"""`python -m benchmarks.autoscaling`, which is `make bench-autoscaling`: whether tiers scale by their gauge.

Real tiers under a recorded load with a burst, each tier with the autoscaler of Kubernetes in plain
arithmetic; once with `pre` as the bottleneck, once with `predict`. A line for each promise at the end, every
figure in a file, and a picture. Meant for a quiet machine. The exit code is 0 if all was measured; a promise
that falls short does not change it.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import Any

from benchmarks.autoscaling.aims import AIMS
from benchmarks.autoscaling.journal import Journal
from benchmarks.autoscaling.judge import figures, windows
from benchmarks.autoscaling.picture import Column, draw
from benchmarks.autoscaling.pipelines import PIPELINES
from benchmarks.autoscaling.recording import RECORDED, recorded
from benchmarks.autoscaling.rehearsal import Plan, rehearse
from benchmarks.findings import Findings, verdicts
from benchmarks.machine import machine, versions
from benchmarks.results import default_file, save
from benchmarks.server_under_test import ROOT, ServerFailed

PICTURE = ROOT / "docs" / "pictures" / "autoscaling.svg"
BY_WAIT = "tercet_queue_wait_ratio"
SPEED, QUICK_SPEED = 6.0, 20.0


def main(words: Sequence[str]) -> int:
    asked = _parser().parse_args(words)
    now = datetime.now(UTC)
    recording = recorded(asked.recording)
    plan = Plan(recording=recording, speed=asked.speed or (QUICK_SPEED if asked.quick else SPEED))
    by_wait = Plan(recording=plan.recording, speed=plan.speed, signal=BY_WAIT)
    content: dict[str, Any] = {
        "at": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "speed": plan.speed,
        "target": plan.target,
    }
    findings: Findings = {}
    columns = []
    for name in asked.parts:
        try:
            journal = _rehearsed(name, plan, content, findings)
            beside = _rehearsed(name, by_wait, content, findings).looks[name] if asked.compare else ()
        except (ServerFailed, TimeoutError) as fault:
            print(f"{name} could not be measured: {fault}")
            return 1
        seen = windows(journal.told, plan.recording, plan.speed)
        columns.append(Column(bottleneck=name, looks=journal.looks, windows=seen, beside=beside))
    content["findings"] = findings
    content["promises"] = [" ".join(verdict.split()) for verdict in verdicts(AIMS, findings)]
    out = asked.out or default_file(now, "autoscaling-quick" if asked.quick else "autoscaling")
    save(out, content)
    picture = asked.picture or (out.with_suffix(".svg") if asked.quick else PICTURE)
    draw(columns, plan.speed, plan.target, picture)
    print("", *verdicts(AIMS, findings), "", f"all figures are in {out}, the picture in {picture}", sep="\n")
    return 0


def _rehearsed(name: str, plan: Plan, content: dict[str, Any], findings: Findings) -> Journal:
    """One rehearsal, told of as it stands in the file."""
    key = name if plan.signal != BY_WAIT else f"{name}, by queue wait"
    seconds = plan.recording.seconds
    print(f"{key}: {seconds / 60:.0f} minutes in {seconds / plan.speed:.0f} s", flush=True)
    pipeline = PIPELINES[name]
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
        journal = asyncio.run(rehearse(pipeline, plan, Path(scratch)))
    found = figures(pipeline, plan.recording, plan.speed, plan.target, journal)
    findings |= {f"{key} {figure}": value for figure, value in found.items()}
    content[key] = {
        "looks": {tier: [_rounded(asdict(look)) for look in looks] for tier, looks in journal.looks.items()},
        "windows": [_rounded(asdict(each)) for each in windows(journal.told, plan.recording, plan.speed)],
    }
    print(*_lines(journal, found), sep="\n", flush=True)
    return journal


def _rounded(value: Any) -> Any:
    """Numbers with three digits behind the point, and null for what is not one, as JSON has none for that."""
    match value:
        case float():
            return None if isnan(value) else round(value, 3)
        case dict():
            return {key: _rounded(each) for key, each in value.items()}
        case list():
            return [_rounded(each) for each in value]
    return value


def _lines(journal: Journal, found: Mapping[str, float | None]) -> list[str]:
    told = [f"  {tier}: processes {_changes(journal, tier)}" for tier in journal.looks]
    shown = ", ".join(f"{figure} {value:.2f}" for figure, value in found.items() if value is not None)
    return [*told, f"  {shown}"]


def _changes(journal: Journal, tier: str) -> str:
    """How many there were, and from when on."""
    said, last = ["1"], 1
    for look in journal.looks[tier]:
        if look.replicas != last:
            said.append(f"{look.replicas} at {look.at_s:.0f} s")
            last = look.replicas
    return ", ".join(said)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.autoscaling", description="Have real tiers scaled by their own gauge."
    )
    option = parser.add_argument
    option("--quick", action="store_true", help=f"{QUICK_SPEED:.0f} times as fast as a cluster, for a look")
    option(
        "--parts", nargs="+", choices=PIPELINES, default=[*PIPELINES], metavar="PART", help="the bottlenecks"
    )
    option("--speed", type=float, metavar="N", help=f"times as fast as a cluster, default {SPEED:.0f}")
    option(
        "--recording",
        type=Path,
        default=RECORDED,
        metavar="FILE",
        help="columns second and requests_per_second, with one burst; default recorded.csv beside this file",
    )
    option("--compare", action="store_true", help="each once more, scaled by how long requests wait")
    option("--picture", type=Path, metavar="FILE", help="default docs/pictures/autoscaling.svg")
    option("--out", type=Path, metavar="FILE", help="default benchmarks/results/DATE-autoscaling.json")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
