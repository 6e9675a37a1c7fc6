"""`python -m benchmarks.peers.picture`, which is `make plot`: the servers side by side, for the README.

One bar a server at each door, on a logarithmic scale, drawn from one results file of `make bench-peers`,
which the picture names. Written by hand, so that the same figures give the same bytes, in colours that can be
read on light and on dark ground.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor, log10
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.call import Door
from benchmarks.peers.aims import CLIENTS, MODEL
from benchmarks.peers.figures import Row, limits, rows
from benchmarks.promises import SERVER
from benchmarks.results import FOLDER
from benchmarks.server_under_test import ROOT

PICTURE = ROOT / "docs" / "pictures" / "speed.svg"
SHOWN = {
    SERVER: "Tercet",
    "prototype": "bare path in Python",
    "pytriton": "Triton, Python backend",
    "pytriton-delay": "Triton, Python backend, 1 ms",
    "mlserver": "MLServer",
    "kserve": "KServe",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "ray": "Ray Serve",
}
DOORS = {Door.BINARY: "HTTP, binary tensors", Door.JSON: "HTTP, JSON", Door.GRPC: "gRPC"}
WIDTH, LEFT, RIGHT, LINE = 780, 210, 200, 18
STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #57606a }
.door { font-weight: 600 }
.small { font-size: 10px }
.bar { fill: #8c959f }
.ours { fill: #1a7f37 }
.floor { fill: none; stroke: #8c959f; stroke-dasharray: 3 2 }
.grid { stroke: #8c959f; stroke-opacity: .3 }
@media (prefers-color-scheme: dark) { text { fill: #9da7b3 } .ours { fill: #3fb950 } }
"""


def newest(folder: Path = FOLDER) -> Path:
    """The last full run; a quick one only where there is no other. Raises `FileNotFoundError`."""
    full = sorted(folder.glob("*-peers.json"))
    found = full or sorted(folder.glob("*-peers-quick.json"))
    if not found:
        raise FileNotFoundError(f"{folder} has no results of bench-peers: run make bench-peers first")
    return found[-1]


def draw(content: Mapping[str, Any], source: str) -> str:
    """The picture of one results file, whose name is the `source`."""
    shown = [row for row in rows(content) if (row.model, row.clients) == (MODEL, CLIENTS)]
    limit = limits(content).get(MODEL, {}).get("rows_per_s")
    rates = [row.figures["requests_per_s"] for row in shown] + ([limit] if limit else [])
    if not rates:
        raise ValueError(f"{source} has no figures of {MODEL} at {CLIENTS} clients")
    scale = _Scale(min(rates), max(rates))
    body, bottom = _bars(shown, limit, scale)
    machine = content["machine"]
    look = "A QUICK LOOK, one second a run. " if content.get("quick") else ""
    foot = (
        f"{look}{content['at'][:10]}, {machine['cores']} cores of {machine['cpu']}, {source}",
        f"Medians, on a logarithmic scale. A model of microseconds, {CLIENTS} clients, one worker each.",
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 52}" role="img">',
        f"<title>Requests a second of one tiny model at {CLIENTS} clients</title>",
        f"<desc>Drawn from {escape(source)}</desc>",
        f"<style>{STYLE}</style>",
        *scale.grid(bottom),
        *body,
        *(
            f'<text class="small" x="8" y="{bottom + 30 + 15 * number}">{escape(line)}</text>'
            for number, line in enumerate(foot)
        ),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


class _Scale:
    """From whole powers of ten to whole powers of ten."""

    def __init__(self, least: float, most: float) -> None:
        self._low = floor(log10(least))
        self._high = max(ceil(log10(most)), self._low + 1)

    def width(self, rate: float) -> float:
        share = (log10(rate) - self._low) / (self._high - self._low)
        return round(max(share, 0.0) * (WIDTH - LEFT - RIGHT), 1)

    def grid(self, bottom: int) -> Iterator[str]:
        for power in range(self._low, self._high + 1):
            x = LEFT + self.width(10.0**power)
            yield f'<line class="grid" x1="{x}" x2="{x}" y1="6" y2="{bottom}"/>'
            yield f'<text class="small" text-anchor="middle" x="{x}" y="{bottom + 13}">{10**power:,}/s</text>'


def _bars(shown: Sequence[Row], limit: float | None, scale: _Scale) -> tuple[list[str], int]:
    """Lines of the picture, and where they end."""
    lines, y = [], 6
    if limit:
        y += LINE
        lines += _bar(y, "ONNX Runtime alone", "floor", limit, f"{limit:,.0f}/s", scale)
    for door, title in DOORS.items():
        at_door = [row for row in shown if row.door is door]
        if not at_door:
            continue
        y += LINE + 6
        lines.append(f'<text class="door" x="8" y="{y}">{title}</text>')
        for row in at_door:
            y += LINE
            said = f"{row.figures['requests_per_s']:,.0f}/s, {row.figures['cpu_us']:,.0f} µs of CPU each"
            kind = {SERVER: "ours", "prototype": "floor"}.get(row.server, "bar")
            lines += _bar(y, SHOWN[row.server], kind, row.figures["requests_per_s"], said, scale)
    return lines, y + 10


def _bar(y: int, name: str, kind: str, rate: float, said: str, scale: _Scale) -> list[str]:
    width = scale.width(rate)
    return [
        f'<text x="16" y="{y}">{escape(name)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{y - 11}" width="{width}" height="13" rx="2"/>',
        f'<text class="small" x="{LEFT + width + 6}" y="{y - 1}">{said}</text>',
    ]


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.picture", description="Draw the servers side by side."
    )
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="default the newest of benchmarks/results"
    )
    parser.add_argument(
        "--out", type=Path, default=PICTURE, metavar="FILE", help="default docs/pictures/speed.svg"
    )
    asked = parser.parse_args(words)
    results = asked.results or newest()
    asked.out.write_text(
        draw(json.loads(results.read_text(encoding="utf-8")), results.name), encoding="utf-8"
    )
    print(f"{asked.out} shows {results}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
