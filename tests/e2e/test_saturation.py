"""The gauge that tiers are scaled by, on a running server."""

import json
from collections.abc import Iterator
from math import exp
from pathlib import Path
from time import monotonic

import httpx
import pytest

from server.observe.pressure import MEMORY_NS
from tests.e2e.scrape import metric
from tests.server_process import Server, running

RUN_S = 0.1
REQUESTS = 12
TENSOR = {"datatype": "FP32", "shape": [-1, 1]}
QUESTION = {"inputs": [{"name": "INPUT", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}
SLEEPY = f"""
import time

INPUTS = [{{"name": "INPUT", "datatype": "FP32", "shape": [-1, 1]}}]


def preprocess(inputs):
    time.sleep({RUN_S})
    return inputs
"""


def lay(folder: Path, run_ms: float, pre: str = "") -> None:
    version = folder / "1"
    version.mkdir(parents=True)
    tensors = {"inputs": [{"name": "INPUT", **TENSOR}], "outputs": [{"name": "OUTPUT", **TENSOR}]}
    (version / "model.sleep").write_text(json.dumps({**tensors, "service_time": {"fixed_ms": run_ms}}))
    (folder / "config.pbtxt").write_text("max_batch_size: 1 instance_group { kind: KIND_CPU count: 1 }")
    if pre:
        (version / "pre.py").write_text(pre)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("repository")
    lay(folder / "slow", RUN_S * 1e3)
    lay(folder / "coded", 1, SLEEPY)
    log = tmp_path_factory.mktemp("log") / "log"
    with running(log, folder, options=["--stage-threads=1"]) as server:
        yield server


@pytest.mark.parametrize("model", ["slow", "coded"])
def test_what_is_busy_says_so_before_anybody_waits(server: Server, model: str):
    with httpx.Client(base_url=f"http://{server.http}", timeout=30) as client:

        def ask() -> None:
            assert client.post(f"/v2/models/{model}/infer", json=QUESTION).status_code == 200

        ask()
        before, began = metric(server, "tercet_saturation_ratio", model=model), monotonic()
        for _ in range(REQUESTS):
            ask()
        found, took = metric(server, "tercet_saturation_ratio", model=model), monotonic() - began
    fresh = 1 - exp(-took * 1e9 / MEMORY_NS)
    assert 0.8 * fresh * REQUESTS * RUN_S / took < found
    assert found < before + 1.25 * fresh, "one at a time is never more than full"
    assert metric(server, "tercet_queue_wait_ratio", model="slow") < 0.05
