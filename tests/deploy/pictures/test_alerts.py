"""Each alert fires when it should and is silent when it should not, as Prometheus itself works it out."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dashboards.written import DASHBOARDS
from server.settings import Settings
from tests.deploy.pictures import model_alert_cases, process_alert_cases, request_alert_cases
from tests.deploy.pictures.alert_case import Case, selector
from tests.deploy.pictures.asked import ALERTS, RUNBOOKS, alerts, recordings
from tests.deploy.pictures.prometheus import PROMTOOL

CASES = (*request_alert_cases.CASES, *model_alert_cases.CASES, *process_alert_cases.CASES)
NAMES = [rule["alert"] for rule in alerts()]
PANELS = {panel.title for dashboard in DASHBOARDS for panel in dashboard.panels}
OPTIONS = {name.replace("_", "-") for name in Settings.model_fields}
SECTIONS = ("**Meaning.**", "**Look.**", "**Do.**", "**Silence.**")


def promtool(*words: str) -> None:
    ran = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.prometheus
def test_prometheus_takes_the_rules():
    promtool("check", "rules", "--lint-fatal", str(ALERTS))


@pytest.mark.prometheus
@pytest.mark.parametrize("name", NAMES)
def test_an_alert_fires_when_it_should_and_not_otherwise(name: str, tmp_path: Path):
    (rule,) = [rule for rule in alerts() if rule["alert"] == name]
    alone = tmp_path / "rules.yaml"  # the others would be worked out, too, for every minute
    alone.write_text(yaml.safe_dump({"groups": [{"name": "tested", "rules": [*needed(rule), rule]}]}))
    tests = {
        "rule_files": [str(alone)],
        "evaluation_interval": "1m",
        "tests": [told(rule, case) for case in CASES if case.alert == name],
    }
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump(tests))
    promtool("test", "rules", str(file))


def told(rule: Mapping[str, Any], case: Case) -> dict[str, Any]:
    """A case as promtool has it; it says its name where it does not hold."""
    firing = {"alertname": case.alert, "alertstate": "firing", **rule["labels"]}
    expected = [selector("ALERTS", {**firing, **case.here, **labels}) for labels in case.fires]
    asked = {
        "expr": f'ALERTS{{alertname="{case.alert}",alertstate="firing"}}',
        "eval_time": case.at,
        "exp_samples": [{"labels": labels, "value": 1} for labels in expected],
    }
    return {
        "name": case.when,
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "promql_expr_test": [asked],
    }


def needed(rule: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The recordings that it asks for."""
    return [recording for recording in recordings() if recording["record"] in rule["expr"]]


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_is_seen_to_fire_and_to_be_silent(name):
    assert {bool(case.fires) for case in CASES if case.alert == name} == {True, False}


def test_no_two_rules_have_the_same_name_and_every_alert_begins_alike():
    names = NAMES + [rule["record"] for rule in recordings()]
    assert len(set(names)) == len(names)
    assert all(name.startswith("Tercet") for name in NAMES)
    assert {case.alert for case in CASES} <= set(NAMES)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on(rule):
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["description"].endswith(".")
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"


def test_every_alert_has_its_page_and_every_page_its_alert():
    assert {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_it_means_how_to_look_what_to_do_and_how_to_silence_it(name):
    page = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n")
    places = [page.index(section) for section in SECTIONS]
    assert places == sorted(places)
    assert f"alertname={name}" in page[places[-1] :]
    assert all(len(line) <= 120 for line in page.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_page_names_is_there(name):
    """Other alerts, dashboards and their panels, options, and pages of docs/."""
    page = " ".join((RUNBOOKS / f"{name}.md").read_text(encoding="utf-8").split())
    assert set(re.findall(r"\bTercet[A-Z]\w+", page)) <= set(NAMES)
    dashboards = re.findall(r"(?<!\*)\*(\w[^*]+)\*(?!\*)", page)
    assert set(dashboards) <= {each.title for each in DASHBOARDS}
    assert set(re.findall(r'"([A-Z][^"]+)"', page)) <= PANELS
    assert set(re.findall(r"`--([a-z-]+)", page)) <= OPTIONS
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (RUNBOOKS / link).exists(), link
