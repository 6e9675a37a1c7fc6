import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.deploy.pictures.prometheus import PROMETHEUS, PROMTOOL
from tests.e2e.analyzer import perf_analyzer
from tests.triton_server import pytriton

CHROMIUM = Path("/usr/bin/chromium")
SYSTEMD_ANALYZE = Path("/usr/bin/systemd-analyze")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow too")
    parser.addoption(
        "--fuzz-cases", type=int, default=300, help="cases of each test in tests/fuzz (default: 300)"
    )


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile(
        "fuzz",
        max_examples=config.getoption("--fuzz-cases"),
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
        ],
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the slow tests unless asked for, and those that need what is not here."""
    unwanted = set() if config.getoption("--run-slow") else {"slow"}
    if not Path("/dev/nvidia0").exists():
        unwanted.add("cuda")
    if not CHROMIUM.exists():
        unwanted.add("browser")
    if not (PROMETHEUS.exists() and PROMTOOL.exists()):
        unwanted.add("prometheus")
    if os.geteuid() != 0:
        unwanted.add("root")
    if not SYSTEMD_ANALYZE.exists():
        unwanted.add("systemd")
    if perf_analyzer() is None:
        unwanted.add("perf_analyzer")
    if pytriton() is None:
        unwanted.add("pytriton")
    left_out = [item for item in items if any(item.get_closest_marker(mark) for mark in unwanted)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_report_collectionfinish() -> list[str]:
    lines = []
    if not CHROMIUM.exists():
        lines.append(
            f"the tests in a browser are left out: there is no {CHROMIUM} (apt-get install chromium)"
        )
    if not (PROMETHEUS.exists() and PROMTOOL.exists()):
        lines.append(
            f"the tests with Prometheus are left out: there is no {PROMETHEUS} (apt-get install prometheus)"
        )
    if os.geteuid() != 0:
        lines.append("the test that makes everything read-only is left out: it needs to be root")
    if not SYSTEMD_ANALYZE.exists():
        lines.append(
            f"the test that asks systemd is left out: there is no {SYSTEMD_ANALYZE} (apt-get install systemd)"
        )
    if perf_analyzer() is None:
        lines.append("the tests with perf_analyzer are left out: it is not there (make perf-analyzer)")
    if pytriton() is None:
        lines.append("the tests with Triton's C++ server are left out: it is not there (make pytriton)")
    return lines
