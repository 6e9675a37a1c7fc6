"""Every expression of the dashboards and rules, asked of a real Prometheus that scrapes real servers."""

import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

import pytest

from deploy.dashboards.written import DASHBOARDS
from server.observe.gpu import GAUGES
from tests.deploy.pictures.asked import ALERTS, Asked, choices, from_dashboards, recordings, rules
from tests.deploy.pictures.prometheus import Prometheus, scraping
from tests.deploy.pictures.promql import FLEET_LABELS, labels_of
from tests.deploy.pictures.served import Served, serving
from tests.e2e.scrape import samples_of

pytestmark = pytest.mark.prometheus

PANELS = list(from_dashboards())
LONG_S = 60.0

WITH_A_GPU = dict.fromkeys((name for name, *_ in GAUGES), frozenset({"gpu_uuid"}))
"""What a server on a machine with a GPU shows as well: tests/observe/test_gpu.py has the proof."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as served:
        served.ask()
        yield served


@pytest.fixture(scope="module")
def known(served: Served) -> Mapping[str, frozenset[str]]:
    """Every metric that the servers show, and Prometheus's own of each target, with its labels."""
    labels: dict[str, frozenset[str]] = defaultdict(frozenset)
    labels["up"] = frozenset()
    for addresses in served.jobs.values():
        for address in addresses:
            for name, own, _ in samples_of(address):
                labels[name] |= own.keys() - FLEET_LABELS
    labels |= WITH_A_GPU
    for rule in recordings():
        labels[rule["record"]] = labels_of(rule["expr"], labels)
    return dict(labels)


@pytest.fixture(scope="module")
def prometheus(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """With at least two samples of everything that has happened since."""
    with scraping(tmp_path_factory.mktemp("prometheus"), served.jobs, [ALERTS]) as prometheus:
        everyone = sum(map(len, served.jobs.values()))  # the fleet is one process, too
        until(lambda: len(prometheus.ask("tercet_build_info")) == everyone)
        served.ask()
        yield prometheus


def until(holds, within_s: float = LONG_S) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        time.sleep(0.2)


@pytest.mark.parametrize("asked", PANELS, ids=lambda asked: asked.where)
def test_a_panel_asks_for_metrics_and_labels_that_there_are(
    asked: Asked, known: Mapping[str, frozenset[str]]
):
    labels_of(asked.expr, known)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_metrics_and_labels_that_there_are(rule, known: Mapping[str, frozenset[str]]):
    labels = labels_of(rule["expr"], known)
    told = " ".join(rule.get("annotations", {}).values())
    assert set(re.findall(r"\$labels\.(\w+)", told)) <= labels


@pytest.mark.parametrize("asked", PANELS, ids=lambda asked: asked.where)
def test_a_panel_has_data_after_traffic(asked: Asked, prometheus: Prometheus, served: Served):
    if asked.empty_without:
        prometheus.ask(asked.expr)
        return
    deadline = time.monotonic() + LONG_S
    while not prometheus.ask(asked.expr):
        assert time.monotonic() < deadline, f"no data: {asked.expr}"
        served.ask()


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_the_choices_above_a_dashboard_have_values(dashboard, prometheus: Prometheus):
    for selector, label in choices(dashboard):
        until(lambda selector=selector: bool(prometheus.ask(selector)))
        if label != "namespace":
            assert all(series["metric"].get(label) for series in prometheus.ask(selector))


def test_prometheus_works_out_every_rule_without_an_error(prometheus: Prometheus):
    until(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()))
    assert len(prometheus.rules()) == len(rules())


def test_a_model_that_cannot_be_loaded_is_about_to_be_told(prometheus: Prometheus):
    def told() -> set[str]:
        found = {rule["name"]: rule.get("alerts", []) for rule in prometheus.rules()}
        return {alert["labels"]["model"] for alert in found["TercetModelUnavailable"]}

    until(lambda: told() == {"broken"})
