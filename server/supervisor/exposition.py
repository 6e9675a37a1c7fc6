"""Joins the metrics of many processes into one page of Prometheus's text. Pure.

Nothing is added up here: each sample keeps its process, by the labels `role` and `process`. A sum of
counters would fall when one of them begins anew, and a fall looks like a restart of all of them, so rates
would jump; `sum by (...) (rate(...))` over labelled counters is right. Where a metric is a gauge, only its
reader knows whether processes add up, as requests that wait do, or say the same, as the machine's memory.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from server.supervisor.plan import Seat

SAMPLE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r"(?:\{(?P<labels>.*)\})? (?P<value>[-+]?[0-9][-+.0-9eE]*|[-+]?Inf|NaN)(?P<moment> -?[0-9]+)?"
)
"""A line of the text format, version 0.0.4."""


@dataclass(slots=True)
class Family:
    """One metric: its HELP and TYPE lines, and the samples, which must stand together."""

    about: dict[str, str] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)


def joined(pages: Mapping[Seat, str]) -> str:
    """One page of all; a line that is neither a sample nor about a metric is left out."""
    families: dict[str, Family] = {}
    for seat, page in pages.items():
        for name, kind, line in _lines(page, f'role="{seat.role}",process="{seat.number}"'):
            family = families.setdefault(name, Family())
            if kind:
                family.about.setdefault(kind, line)
            else:
                family.samples.append(line)
    lines = [line for each in families.values() for line in (*each.about.values(), *each.samples)]
    return "".join(f"{line}\n" for line in lines)


def _lines(page: str, labels: str) -> Iterator[tuple[str, str, str]]:
    """Each with the name of its family, and what it is: HELP, TYPE, or empty for a sample."""
    family = ""
    for line in page.split("\n"):
        words = line.split(" ", 3)
        if words[0] == "#" and len(words) > 2 and words[1] in ("HELP", "TYPE"):
            family = words[2]
            yield family, words[1], line
        elif (found := SAMPLE.fullmatch(line)) is not None:
            name = found["name"]
            if not family or not name.startswith(family):
                family = name
            inside = f"{labels},{found['labels']}" if found["labels"] else labels
            yield family, "", f"{name}{{{inside}}} {found['value']}{found['moment'] or ''}"
