"""A benchmark of several parts: which of them is run, what is said, and the file with every figure.

One line for each promise at the end. The exit code is 0 if all was measured; a promise that falls short does
not change it.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.ask import Refused
from benchmarks.findings import Findings, verdicts
from benchmarks.machine import machine, versions
from benchmarks.promises import Promise
from benchmarks.results import default_file, save
from benchmarks.runs import Pace, Say
from benchmarks.sample import LoadFailed
from benchmarks.server_under_test import NotTold, ServerFailed

Measure = Callable[[Path, Pace, Say, Findings], Any]
"""Measures in a scratch folder, adds to the findings, and gives what else the file is to have."""


def main(
    name: str,
    what: str,
    parts: Mapping[str, Measure],
    aims: Sequence[Promise[Findings]],
    words: Sequence[str],
) -> int:
    """`python -m benchmarks.NAME`, which is to measure `what`."""
    asked = _parser(name, what, parts).parse_args(words)
    now = datetime.now(UTC)
    pace = (
        Pace(seconds=1, repeats=1, quick=True)
        if asked.quick
        else Pace(seconds=asked.seconds, repeats=asked.repeats)
    )
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
                content[part] = parts[part](Path(scratch), pace, _say, findings)
            except (ServerFailed, NotTold, LoadFailed, Refused) as fault:
                _say(f"{part} could not be measured: {fault}")
                content[part], failed = {"refusal": str(fault)}, True
    content["findings"] = findings
    content["promises"] = [" ".join(verdict.split()) for verdict in verdicts(aims, findings)]
    out = asked.out or default_file(now, f"{name}-quick" if asked.quick else name)
    save(out, content)
    print("", *verdicts(aims, findings), "", f"all figures are in {out}", sep="\n")
    return int(failed)


def _say(line: str) -> None:
    print(line, flush=True)


def _parser(name: str, what: str, parts: Mapping[str, Measure]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=what)
    option = parser.add_argument
    option("--quick", action="store_true", help="one run of a second each, for a look")
    option("--parts", nargs="+", choices=parts, default=[*parts], metavar="PART", help=", ".join(parts))
    option("--seconds", type=int, default=5, metavar="N", help="of each run; default %(default)s")
    option("--repeats", type=int, default=5, metavar="N", help="runs of each; default %(default)s")
    option("--out", type=Path, metavar="FILE", help=f"default benchmarks/results/DATE-{name}.json")
    return parser
