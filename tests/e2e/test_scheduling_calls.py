"""What is wanted of a model's answers: from its configuration, by call, and after reloads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.workshop import put, times
from tests.server_process import Server, running

PUNCTUAL = """
max_batch_size: 8
dynamic_batching { default_queue_policy { max_queue_size: 7 } }
parameters { key: "latency_target_ms" value { string_value: "50" } }
parameters { key: "scheduling_weight" value { string_value: "2.5" } }
"""
OPTIONS = ["--model-control-mode=explicit", "--load-model=plain", "--load-model=punctual"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    put(folder, "plain", times(2, 1))
    put(folder, "punctual", times(2, 1), PUNCTUAL)
    put(folder, "not yet", times(2, 1), PUNCTUAL)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = [*OPTIONS, "--repository-settle-secs=0", "--max-queue-bytes=1000000"]
    with running(tmp_path_factory.mktemp("log") / "log", repository, options=options) as server:
        yield server


def told(server: Server, model: str) -> dict[str, Any]:
    answer = server.client.get(f"/v2/models/{model}/scheduling")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def say(server: Server, model: str, **change: float | None) -> dict[str, Any]:
    answer = server.client.post(f"/v2/models/{model}/scheduling", json=change)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    assert document == told(server, model)
    return document


def holds(document: dict[str, Any]) -> tuple[float | None, str, float, str]:
    names = ("latency_target_ms", "latency_target_from", "weight", "weight_from")
    target, target_from, weight, weight_from = (document[name] for name in names)
    return target, target_from, weight, weight_from


def test_what_nobody_asked_for_is_the_default_and_queues_have_bounds(server: Server):
    document = told(server, "plain")
    assert document["name"] == "plain"
    assert holds(document) == (None, "default", 1, "default")
    assert document["versions"] == [
        {
            "version": "1",
            "instances": 2,
            "waiting": 0,
            "running": 0,
            "max_queue_size": 1024,
            "max_queue_bytes": 1_000_000,
            "predicted_ms": {},
        }
    ]


def test_a_configured_target_holds_and_its_model_has_learned_before_it_is_asked(server: Server):
    document = told(server, "punctual")
    assert holds(document) == (50, "config", 2.5, "config")
    (version,) = document["versions"]
    assert version["max_queue_size"] == 7
    assert version["predicted_ms"].keys() == {"1", "2", "4", "8"}
    assert all(0 < ms < 1000 for ms in version["predicted_ms"].values())
    (stats,) = server.client.get("/v2/models/punctual/stats").json()["model_stats"]
    assert (stats["inference_count"], stats["execution_count"]) == (0, 0)


def test_a_call_goes_before_the_configuration_over_reloads_until_it_is_taken_back(server: Server):
    assert holds(say(server, "punctual", latency_target_ms=20)) == (20, "call", 2.5, "config")
    assert holds(say(server, "punctual", weight=4)) == (20, "call", 4, "call")
    for order in ("unload", "load"):
        path = f"/v2/repository/models/punctual/{order}"
        assert server.client.post(path).status_code == 200
        assert holds(told(server, "punctual")) == (20, "call", 4, "call")
    assert holds(say(server, "punctual", latency_target_ms=None)) == (50, "config", 4, "call")
    assert holds(say(server, "punctual", weight=None)) == (50, "config", 2.5, "config")
    assert holds(say(server, "punctual")) == (50, "config", 2.5, "config")
    server.until(lambda: "scheduling_changed" in server.log)


def test_a_model_that_does_not_serve_yet_can_be_spoken_of(server: Server):
    document = say(server, "not yet", weight=3)
    assert holds(document) == (50, "config", 3, "call")
    assert document["versions"] == []


def test_it_may_be_changed_in_every_control_mode_as_the_log_may(repository: Path, tmp_path: Path):
    with running(tmp_path / "log", repository, options=["--model-control-mode=none"]) as server:
        assert holds(say(server, "plain", latency_target_ms=5)) == (5, "call", 1, "default")
        assert server.client.post("/v2/repository/models/plain/load").status_code == 503


def test_a_target_that_is_no_time_is_refused_with_its_line(repository: Path, server: Server):
    config = repository / "plain" / "config.pbtxt"
    config.write_text(
        'max_batch_size: 4\nparameters { key: "latency_target_ms" value { string_value: "soon" } }'
    )
    answer = server.client.post("/v2/repository/models/plain/load")
    config.unlink()
    assert answer.status_code == 500
    assert "plain/config.pbtxt:2:1: parameters: has latency_target_ms 'soon'" in answer.json()["error"]
    assert server.client.get("/v2/models/plain/ready").status_code == 200, "it serves what it was before"
