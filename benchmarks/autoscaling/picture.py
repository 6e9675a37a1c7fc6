"""Load, gauges, processes and latency of rehearsals side by side, as an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from benchmarks.autoscaling.cluster import TIERS
from benchmarks.autoscaling.journal import Look
from benchmarks.autoscaling.judge import Window

COLOURS = {"pre": "#1f77b4", "predict": "#d62728", "post": "#2ca02c"}
MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One rehearsal.

    looks    by tier
    beside   of the bottleneck in a rehearsal with another signal; empty for none
    """

    bottleneck: str
    looks: Mapping[str, Sequence[Look]]
    windows: Sequence[Window]
    beside: Sequence[Look] = ()


def draw(columns: Sequence[Column], speed: float, target: float, file: Path) -> None:
    settings: Any = {"svg.hashsalt": "tercet", "svg.fonttype": "none", "font.size": 8}
    with matplotlib.rc_context(settings):
        figure, rows = pyplot.subplots(
            4, len(columns), figsize=(5.2 * len(columns), 8.5), sharex=True, sharey="row", squeeze=False
        )
        for number, column in enumerate(columns):
            load, gauges, processes, latency = (row[number] for row in rows)
            load.set_title(f"bottleneck: {column.bottleneck}")
            _load_and_latency(column.windows, load, latency)
            _looks(column.looks, gauges, processes)
            gauges.axhline(target, color="grey", linewidth=0.8, linestyle=":", label="target")
            if column.beside:
                _steps(processes, column.beside, "grey", "--", f"{column.bottleneck}, by queue wait")
            latency.set_xlabel(f"minutes of the cluster (one is {MINUTE_S / speed:.0f} s)")
            for axes in (load, gauges, processes, latency):
                axes.grid(alpha=0.3)
                axes.legend(loc="best", fontsize=7)
            processes.yaxis.set_major_locator(MaxNLocator(integer=True))
        labels = ("requests a second", "saturation, mean", "processes", "latency of the answered, ms")
        for row, label in zip(rows, labels, strict=True):
            row[0].set_ylabel(label)
        figure.tight_layout()
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None})
        pyplot.close(figure)


def _load_and_latency(seen: Sequence[Window], load: Axes, latency: Axes) -> None:
    minutes = [each.at_s / MINUTE_S for each in seen]
    parts = {each: each.answered / max(1, each.answered + each.refused + each.failed) for each in seen}
    load.step(minutes, [each.per_s for each in seen], where="post", color="black", label="asked")
    answered = [each.per_s * parts[each] for each in seen]
    load.step(minutes, answered, where="post", color="#2ca02c", label="answered")
    for name, values in (
        ("p50", [each.p50_s * 1e3 for each in seen]),
        ("p99", [each.p99_s * 1e3 for each in seen]),
    ):
        latency.plot(minutes, values, label=name, color="black" if name == "p50" else "#ff7f0e")
    latency.set_yscale("log")


def _looks(looks: Mapping[str, Sequence[Look]], gauges: Axes, processes: Axes) -> None:
    for tier in TIERS:
        minutes = [look.at_s / MINUTE_S for look in looks[tier]]
        values = [look.gauge if look.gauge is not None else float("nan") for look in looks[tier]]
        gauges.plot(minutes, values, color=COLOURS[tier], label=tier)
        _steps(processes, looks[tier], COLOURS[tier], "-", tier)


def _steps(axes: Axes, looks: Sequence[Look], colour: str, style: str, label: str) -> None:
    minutes = [look.at_s / MINUTE_S for look in looks]
    axes.step(
        minutes,
        [look.replicas for look in looks],
        where="post",
        color=colour,
        linestyle=style,
        label=label,
    )
