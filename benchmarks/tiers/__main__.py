"""`python -m benchmarks.tiers`, which is `make bench-tiers`: what tiers cost beside one process, and gain.

One line for each promise at the end, and every figure in a file. Meant for a quiet machine. The exit code is
0 if all was measured; a promise that falls short does not change it.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.ask import Refused
from benchmarks.findings import Findings, verdicts
from benchmarks.machine import machine, versions
from benchmarks.results import default_file, save
from benchmarks.sample import LoadFailed
from benchmarks.server_under_test import NotTold, ServerFailed
from benchmarks.tiers import copies, hop, pipeline
from benchmarks.tiers.aims import AIMS
from benchmarks.tiers.runs import Pace

MEASURE = {"hop": hop.measure, "pipeline": pipeline.measure, "copies": copies.measure}


def main(words: Sequence[str]) -> int:
    asked = _parser().parse_args(words)
    now = datetime.now(UTC)
    pace = Pace(seconds=1, repeats=1) if asked.quick else Pace(seconds=asked.seconds, repeats=asked.repeats)
    content: dict[str, Any] = {
        "at": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
    }
    findings: Findings = {}
    failed = False
    for part in asked.parts:
        _say(f"{part}:")
        with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
            try:
                content[part] = MEASURE[part](Path(scratch), pace, _say, findings)
            except (ServerFailed, NotTold, LoadFailed, Refused) as fault:
                _say(f"{part} could not be measured: {fault}")
                content[part], failed = {"refusal": str(fault)}, True
    content["findings"] = findings
    content["promises"] = [" ".join(verdict.split()) for verdict in verdicts(AIMS, findings)]
    out = asked.out or default_file(now, "tiers-quick" if asked.quick else "tiers")
    save(out, content)
    print("", *verdicts(AIMS, findings), "", f"all figures are in {out}", sep="\n")
    return int(failed)


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tiers", description="Measure what tiers cost and gain."
    )
    option = parser.add_argument
    option("--quick", action="store_true", help="one run of a second each, for a look")
    option("--parts", nargs="+", choices=MEASURE, default=[*MEASURE], metavar="PART", help=", ".join(MEASURE))
    option("--seconds", type=int, default=5, metavar="N", help="of each run; default %(default)s")
    option("--repeats", type=int, default=5, metavar="N", help="runs of each; default %(default)s")
    option("--out", type=Path, metavar="FILE", help="default benchmarks/results/DATE-tiers.json")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
