"""`python -m benchmarks.lifecycle`, which is `make bench-lifecycle`: what keeping many models at hand costs.

Prints one line for each promise, and keeps all figures in a file. The exit code is 0 if everything could be
measured; a promise that falls short does not change it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.lifecycle.folders import FolderFigures, lay_folders, measure_folders
from benchmarks.machine import machine, versions
from benchmarks.promises import Promise
from benchmarks.results import default_file, save

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
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lifecycle", description="Measure what keeping many models at hand costs."
    )
    parser.add_argument("--folders", type=int, default=10_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default results/DATE-lifecycle.json")
    asked = parser.parse_args(words)
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
        print(f"about a minute; making {asked.folders} folders", flush=True)
        lay_folders(Path(scratch), asked.folders)
        time.sleep(AT_REST_S)
        figures = measure_folders(Path(scratch))
    verdicts = [
        promise.verdict(figure) for promise in PROMISES if (figure := promise.figure(figures)) is not None
    ]
    out = asked.out or default_file(now, "lifecycle")
    save(
        out,
        {
            "at": now.isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
            "folders": asdict(figures),
            "promises": [" ".join(verdict.split()) for verdict in verdicts],
        },
    )
    for line in (*verdicts, f"every figure is in {out}"):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
