"""`python -m benchmarks.profile.page` writes docs/profile.md: where the time goes, from one results file."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.call import Door
from benchmarks.profile.steps import STEPS
from benchmarks.results import FOLDER
from benchmarks.server_under_test import ROOT

PAGE = ROOT / "docs" / "profile.md"
FRAMES = 12
HEAD = """\
# Where the time of a request goes

One tiny model, 64 clients, the whole server in one process: of its processor time, the share of each step,
and that share in microseconds of what a request costs there. `make profile` measures it, `python -m
benchmarks.profile.page` writes this page from `benchmarks/results/{source}`
({at}, {cores} cores of {cpu}{look}).

{table}

The kernel's time is the sockets', that of ONNX Runtime the run's; the rest is shared out by who holds the
interpreter, as py-spy sees it. `benchmarks/profile/steps.py` says which code belongs to which step. *run* is
laying the batch, the session and taking it apart; *validate* is finding the version and checking the tensors.
"""
FRAMES_HEAD = (
    "\n## {door}: where the interpreter is held, innermost frames\n\n| share | frame |\n| --- | --- |\n"
)


def newest(folder: Path = FOLDER) -> Path:
    """The last full run; a quick one only where there is no other. Raises `FileNotFoundError`."""
    full = sorted(folder.glob("*-profile.json"))
    found = full or sorted(folder.glob("*-profile-quick.json"))
    if not found:
        raise FileNotFoundError(f"{folder} has no profile: run make profile first")
    return found[-1]


def table(content: Mapping[str, Any]) -> Iterator[str]:
    """A row for each step, a column for each door that was looked into."""
    doors = [door for door in Door if "steps" in content.get(door, {})]
    yield "| step | " + " | ".join(doors) + " |"
    yield "| --- |" + " --- |" * len(doors)
    for step in STEPS:
        cells = [_cell(content[door], step) for door in doors]
        if any(cells):
            yield f"| {step} | " + " | ".join(cells) + " |"
    costs = [f"{content[door]['figures']['cpu_us']:.1f} µs" for door in doors]
    yield "| all | " + " | ".join(costs) + " |"


def page(content: Mapping[str, Any], source: str) -> str:
    machine = content["machine"]
    text = HEAD.format(
        source=source,
        at=content["at"][:10],
        cores=machine["cores"],
        cpu=machine["cpu"],
        look="; a quick look" if content.get("quick") else "",
        table="\n".join(table(content)),
    )
    for door in Door:
        frames = list(content.get(door, {}).get("innermost", {}).items())[:FRAMES]
        if frames:
            text += FRAMES_HEAD.format(door=door)
            text += "".join(f"| {share:.1%} | `{frame}` |\n" for frame, share in frames)
    return text


def _cell(told: Mapping[str, Any], step: str) -> str:
    share = told["steps"].get(step)
    return f"{share:.1%}, {share * told['figures']['cpu_us']:.1f} µs" if share else ""


if __name__ == "__main__":
    latest = newest()
    PAGE.write_text(page(json.loads(latest.read_text(encoding="utf-8")), latest.name), encoding="utf-8")
    sys.stdout.write(f"{PAGE} tells {latest}\n")
