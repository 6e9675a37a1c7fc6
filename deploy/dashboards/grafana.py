"""The words that a dashboard is written in, and Grafana's JSON for it. Pure.

A panel asks one thing, in one unit, of the metrics of the chosen installation; where it stands follows from
the order, so that none can lie over another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA = 39
"""Grafana 11 writes it; later ones read it, and bring it up to date when they load it."""

COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
TAG = "tercet"

Kind = Literal["timeseries", "stat", "heatmap", "table"]


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked, and how each series of the answer is called.

    empty_without   what must be there for an answer, such as "a GPU"; empty where any traffic will do
    """

    expr: str
    legend: str = ""
    empty_without: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """`unit` is one of Grafana's; `warn` and `alarm` colour a stat from that value on."""

    title: str
    about: str
    unit: str
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    width: int = 8
    stacked: bool = False
    warn: float | None = None
    alarm: float | None = None

    @property
    def height(self) -> int:
        return 4 if self.kind == "stat" else 8


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice above the dashboard, out of the values that a label has. `all` of them to begin with."""

    name: str
    label: str
    of: str


CHOICES = (
    Variable(name="namespace", label="Namespace", of="label_values(tercet_build_info, namespace)"),
    Variable(name="job", label="Job", of='label_values(tercet_build_info{namespace=~"$namespace"}, job)'),
    Variable(
        name="instance",
        label="Process",
        of='label_values(tercet_build_info{namespace=~"$namespace",job=~"$job"}, instance)',
    ),
)
MODEL = Variable(
    name="model",
    label="Model",
    of='label_values(nv_inference_count{namespace=~"$namespace",job=~"$job"}, model)',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    uid: str
    title: str
    about: str
    rows: Sequence[Row]
    by_model: bool = True

    @property
    def panels(self) -> Iterator[Panel]:
        for row in self.rows:
            yield from row.panels

    def json(self) -> dict[str, Any]:
        variables = [*CHOICES, *([MODEL] if self.by_model else [])]
        return {
            "uid": self.uid,
            "title": f"Tercet / {self.title}",
            "description": self.about,
            "tags": [TAG],
            "schemaVersion": SCHEMA,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "",
            "links": [_other_dashboards()],
            "templating": {"list": [_choice_of_datasource(), *map(_choice, variables)]},
            "annotations": {"list": []},
            "panels": list(_laid_out(self.rows)),
        }


def _laid_out(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Left to right, and on below where the line is full. A line is as high as its highest panel."""
    number = top = 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": place,
        }
        top += 1
        left = highest = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, highest = top + highest, 0, 0
            number += 1
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield {"id": number, **_panel(panel), "gridPos": place}
            left, highest = left + panel.width, max(highest, panel.height)
        top += highest


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": _thresholds(panel), **_look(panel)},
            "overrides": [],
        },
        "options": _options(panel),
        "targets": [_target(panel.kind, number, query) for number, query in enumerate(panel.queries)],
        **({"transformations": [TIDY]} if panel.kind == "table" else {}),
    }


TIDY = {"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True, "__name__": True}}}
"""Of a table: a row for each series, a column for each of its labels."""


def _target(kind: Kind, number: int, query: Query) -> dict[str, Any]:
    at_once = kind == "table"
    form = {"heatmap": "heatmap", "table": "table"}.get(kind, "time_series")
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "format": form,
        "instant": at_once,
        "range": not at_once,
    }


def _thresholds(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.warn is not None:
        steps.append({"color": "orange", "value": panel.warn})
    if panel.alarm is not None:
        steps.append({"color": "red", "value": panel.alarm})
    return {"mode": "absolute", "steps": steps}


def _look(panel: Panel) -> dict[str, Any]:
    if panel.kind != "timeseries":
        return {}
    custom: dict[str, Any] = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
    if panel.stacked:
        custom |= {"fillOpacity": 60, "stacking": {"mode": "normal", "group": "A"}}
    if panel.warn is not None or panel.alarm is not None:
        custom |= {"thresholdsStyle": {"mode": "dashed"}}
    return {"custom": custom, "min": 0}


def _options(panel: Panel) -> dict[str, Any]:
    options: dict[Kind, dict[str, Any]] = {
        "timeseries": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["mean", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "stat": {
            "colorMode": "value",
            "graphMode": "area",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        "heatmap": {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
            "yAxis": {"axisPlacement": "left", "unit": panel.unit},
        },
        "table": {"showHeader": True, "cellHeight": "sm"},
    }
    return options[panel.kind]


def _choice_of_datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _choice(variable: Variable) -> dict[str, Any]:
    """All is `.*`, which also fits where there is no such label, as outside of Kubernetes."""
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": variable.of,
        "query": {"query": variable.of, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _other_dashboards() -> dict[str, Any]:
    return {
        "title": "Tercet",
        "type": "dashboards",
        "tags": [TAG],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
    }
