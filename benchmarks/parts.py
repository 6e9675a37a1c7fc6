"""A benchmark of several parts: which of them is run, what is said, and the file with every figure.

One line for each promise at the end. The exit code is 0 if all was measured; a promise that falls short does
not change it.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
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


Close = Callable[[Mapping[str, Any]], Iterable[str]]
"""Lines that end what is printed before the promises, from all that the file is to have."""


def main(
    name: str,
    what: str,
    parts: Mapping[str, Measure],
    aims: Sequence[Promise[Findings]],
    words: Sequence[str],
) -> int:
    """`python -m benchmarks.NAME`, which is to measure `what`."""
    return run(name, parts, aims, parser(name, what, parts).parse_args(words))


def run(
    name: str,
    parts: Mapping[str, Measure],
    aims: Sequence[Promise[Findings]],
    asked: argparse.Namespace,
    close: Close = lambda _: (),
) -> int:
    """Measure the parts that were `asked` for by the words of `parser`."""
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
        "quick": pace.quick,
        "seconds": pace.seconds,
        "repeats": pace.repeats,
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
    out = asked.out or default_file(now, f"{name}-quick" if pace.quick else name)
    save(out, content)
    print(*close(content), "", *verdicts(aims, findings), "", f"all figures are in {out}", sep="\n")
    return int(failed)


def _say(line: str) -> None:
    print(line, flush=True)


def parser(
    name: str,
    what: str,
    parts: Iterable[str],
    *,
    seconds: int = 5,
    repeats: int = 5,
    also: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """The words that every one of them knows; `also` are other names of --parts."""
    known = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=what)
    option = known.add_argument
    option("--quick", action="store_true", help="one run of a second each, for a look")
    names = [*parts]
    option("--parts", *also, nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names))
    option("--seconds", type=int, default=seconds, metavar="N", help="of each run; default %(default)s")
    option("--repeats", type=int, default=repeats, metavar="N", help="runs of each; default %(default)s")
    option("--out", type=Path, metavar="FILE", help=f"default benchmarks/results/DATE-{name}.json")
    return known
