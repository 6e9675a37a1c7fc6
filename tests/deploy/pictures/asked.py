"""Every expression of the dashboards and of the rules, with the choices made that a person would make."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from deploy.dashboards.grafana import Dashboard
from deploy.dashboards.written import DASHBOARDS
from tests.server_process import ROOT

CHART_FILES = ROOT / "deploy" / "helm" / "tercet" / "files"
ALERTS = CHART_FILES / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"

CHOSEN = {"$__rate_interval": "15s", "$__range": "1h"}
"""What Grafana puts in by itself; whatever else is a choice of all."""


@dataclass(frozen=True, slots=True)
class Asked:
    where: str
    expr: str
    empty_without: str = ""


def from_dashboards() -> Iterator[Asked]:
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                where = f"{dashboard.uid}: {panel.title} {query.legend}"
                yield Asked(where, chosen(query.expr), query.empty_without)


def choices(dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    """The metric selector and the label of each choice above a dashboard."""
    for variable in dashboard.json()["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
            assert found is not None, variable
            yield chosen(found[1]), found[2]


def chosen(expr: str) -> str:
    for name, value in CHOSEN.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$\w+", ".*", expr)


def rules() -> list[Mapping[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[Mapping[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def recordings() -> list[Mapping[str, Any]]:
    return [rule for rule in rules() if "record" in rule]
