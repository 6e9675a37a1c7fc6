"""The report as a file: every run, the medians and the verdicts, with the day, machine and versions."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.promises import verdicts
from benchmarks.report import Line, Report

FOLDER = Path(__file__).resolve().parent / "results"


def default_file(now: datetime, name: str) -> Path:
    return FOLDER / f"{now:%Y-%m-%d-%H%M}-{name}.json"


def write(path: Path, report: Report, facts: Mapping[str, Any]) -> None:
    """`facts` say when, where and how the report was made; they come first in the file."""
    content = {
        **facts,
        "bare": {
            model: {"median": asdict(limit), "runs": [asdict(run) for run in report.bare[model]]}
            for model in report.bare
            if (limit := report.limit(model))
        },
        "lines": [_line(report, line) for line in report.lines],
        "abreast": [
            asdict(each.point) | {"share": each.share, "turns": [asdict(turn) for turn in each.turns]}
            for each in report.abreast
        ],
        "promises": [" ".join(verdict.split()) for verdict in verdicts(report)],
    }
    save(path, content)


def save(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _line(report: Report, line: Line) -> Mapping[str, Any]:
    written: dict[str, Any] = asdict(line.point) | {"valid": line.is_valid, "refusal": line.refusal}
    if line.runs:
        written["median"] = asdict(line.figures)
        written["share_of_bare"] = report.share(line.figures, line.point.model)
        written["runs"] = [asdict(run) for run in line.runs]
    return written
