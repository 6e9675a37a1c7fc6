"""Memory for a few of many models: a real server with a small budget, under traffic."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from onnx import helper

from server.app.asking import models as print_models
from tests.e2e.workshop import FLOAT, put, value, written
from tests.server_process import Server, running

MIB = 2**20
MODELS = 12
KIB_OF_WEIGHTS = 2048


def heavy(amount: float) -> bytes:
    """y = x + amount, beside weights that only take memory."""
    weights = np.random.default_rng(int(amount)).normal(size=(KIB_OF_WEIGHTS, 256)).astype(np.float32)
    return written(
        [
            helper.make_node("ReduceMax", ["weights"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "nothing"], ["zero"]),
            helper.make_node("Add", ["x", "amount"], ["sum"]),
            helper.make_node("Add", ["sum", "zero"], ["y"]),
        ],
        [value("x", FLOAT, "n", 2)],
        [value("y", FLOAT, "n", 2)],
        weights=weights,
        nothing=np.float32(0),
        amount=np.float32(amount),
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models m0, m1, ...: each adds its number."""
    folder = tmp_path_factory.mktemp("residency") / "models"
    for number in range(MODELS):
        put(folder, f"m{number}", heavy(number))
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With memory for four of them, more or less."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    options = ["--memory-budget=cpu=16MiB", "--min-residency-secs=0.01", "--model-load-thread-count=1"]
    with running(log, repository, options=options) as server:
        yield server


def ask(client: httpx.Client, number: int, milliseconds: int = 0) -> httpx.Response:
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0, 0]}]}
    headers = {"tercet-timeout-ms": str(milliseconds)} if milliseconds else {}
    return client.post(f"/v2/models/m{number}/infer", json=body, headers=headers)


def loaded(server: Server) -> set[str]:
    lines = server.client.post("/v2/repository/index").json()
    return {line["name"] for line in lines if line["state"] == "READY" and line.get("loaded", True)}


def test_every_model_is_ready_and_only_some_are_in_memory(server):
    assert {state for state, _ in server.index().values()} == {"READY"}
    assert 1 <= len(loaded(server)) < MODELS
    for number in range(MODELS):
        assert server.client.get(f"/v2/models/m{number}/ready").status_code == 200
        assert server.client.get(f"/v2/models/m{number}").json()["inputs"][0]["name"] == "x"
        assert server.client.get(f"/v2/models/m{number}/config").json()["max_batch_size"] == 4


def test_under_traffic_for_more_models_than_fit_every_request_is_answered(server):
    before = inferences(server)
    asked: Counter[int] = Counter()
    wrong: list[str] = []
    until = time.monotonic() + 3.0

    def visit(seed: int) -> None:
        chance = random.Random(seed)
        weights = [1 / (rank + 1) for rank in range(MODELS)]
        with httpx.Client(base_url=f"http://{server.http}", timeout=30) as client:
            while time.monotonic() < until:
                number = chance.choices(range(MODELS), weights)[0]
                answer = ask(client, number)
                asked[number] += 1
                if answer.status_code != 200 or answer.json()["outputs"][0]["data"] != [number, number]:
                    wrong.append(f"m{number}: {answer.status_code} {answer.text}")

    visitors = [threading.Thread(target=visit, args=(seed,)) for seed in range(4)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert wrong == []
    assert sum(asked.values()) > MODELS
    after = inferences(server)
    assert {name: after[name] - before[name] for name in after} == {
        f"m{number}": asked[number] for number in range(MODELS)
    }
    assert len(loaded(server)) < MODELS


def inferences(server: Server) -> dict[str, int]:
    stats = server.client.get("/v2/models/stats").json()["model_stats"]
    return {each["name"]: each["inference_count"] for each in stats}


def test_metrics_tell_who_had_to_leave_and_who_had_to_wait(server):
    for number in range(MODELS):
        assert ask(server.client, number).status_code == 200
    text = httpx.get(f"http://{server.metrics}/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    evicted = [float(count) for name, count in lines.items() if name.startswith("tercet_evictions_total")]
    assert sum(evicted) >= 1
    assert sum(evicted) == float(lines["tercet_residency_age_seconds_count"])
    cold = [float(count) for name, count in lines.items() if name.startswith("tercet_cold_requests_total")]
    assert sum(cold) == float(lines["tercet_cold_wait_seconds_count"]) >= 1
    counted = float(lines['tercet_memory_counted_bytes{device="cpu"}'])
    assert 0 < counted <= float(lines['tercet_memory_budget_bytes{device="cpu"}']) == 16 * MIB


def test_events_tell_who_left_and_who_came_back(server):
    ask(server.client, MODELS - 1)
    events = server.client.get("/v2/repository/events", params={"limit": 1000}).json()["events"]
    left = [each for each in events if each["event"] == "evicted"]
    assert (left[-1]["from"], left[-1]["to"]) == ("READY", "READY")
    assert "its memory is needed" in left[-1]["reason"]
    assert any(each["event"] == "brought_back" for each in events)


def test_the_table_of_models_says_which_are_idle(server, capsys):
    assert print_models([f"--url={server.http}"]) == 0
    printed = capsys.readouterr().out
    assert "READY (idle)" in printed


def test_a_restart_with_known_verdicts_is_ready_at_once_and_loads_when_asked(tmp_path):
    repository = tmp_path / "models"
    for number in range(2):
        put(repository, f"m{number}", heavy(number))
    options = [f"--state-dir={tmp_path / 'state'}", "--memory-budget=cpu=1GiB", "--verify-models=true"]
    with running(tmp_path / "first.log", repository, options=options) as first:
        assert loaded(first) == {"m0", "m1"}
        described = first.client.get("/v2/models/m1/config").json()
    with running(tmp_path / "second.log", repository, options=options) as second:
        assert loaded(second) == set()
        assert "version_loading" not in second.log
        assert second.client.get("/v2/models/m1/config").json() == described
        assert ask(second.client, 1).json()["outputs"][0]["data"] == [1, 1]
        assert loaded(second) == {"m1"}
        assert second.client.get("/v2/models/m1/stats").json()["model_stats"][0]["inference_count"] == 1
