"""A latency target on a running server: who would be late is refused at once, the others are answered."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException

from tests.e2e.scrape import metric
from tests.server_process import Server, running

RUN_MS = 50
CONFIG = """
max_batch_size: 2
instance_group { kind: KIND_CPU count: 1 }
dynamic_batching { }
parameters { key: "latency_target_ms" value { string_value: "200" } }
"""
MODEL = {
    "inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [-1, 1]}],
    "outputs": [{"name": "OUTPUT", "datatype": "FP32", "shape": [-1, 1]}],
    "service_time": {"fixed_ms": RUN_MS},
}
QUESTION = {"inputs": [{"name": "INPUT", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}
SENTENCE = (
    r"Exceeds maximum queue size: model 'target' would answer in \d+ ms, and its latency target is 200 ms"
)
TOO_MANY = 40
"""So many at once would take a second."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("repository")
    version: Path = folder / "target" / "1"
    version.mkdir(parents=True)
    (folder / "target" / "config.pbtxt").write_text(CONFIG)
    (version / "model.sleep").write_text(json.dumps(MODEL))
    with running(tmp_path_factory.mktemp("log") / "log", folder) as server:
        yield server


async def over_http(server: Server, count: int) -> list[httpx.Response]:
    async with httpx.AsyncClient(base_url=f"http://{server.http}", timeout=30) as client:
        asked = [client.post("/v2/models/target/infer", json=QUESTION) for _ in range(count)]
        return list(await asyncio.gather(*asked))


async def over_grpc(server: Server, count: int) -> list[str]:
    tensor = InferInput("INPUT", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
    async with triton_aio.InferenceServerClient(server.grpc) as client:
        asked = [client.infer("target", [tensor]) for _ in range(count)]
        told = await asyncio.gather(*asked, return_exceptions=True)
    return [each.status() if isinstance(each, InferenceServerException) else "OK" for each in told]


def test_what_a_run_takes_is_known_before_the_first_request(server: Server):
    (version,) = server.client.get("/v2/models/target/scheduling").json()["versions"]
    assert set(version["predicted_ms"]) == {"1", "2"}
    assert all(RUN_MS <= ms < 4 * RUN_MS for ms in version["predicted_ms"].values())


async def test_of_too_many_those_who_can_be_in_time_are_answered_and_the_others_told_when_to_come_back(
    server: Server,
):
    before = metric(server, "tercet_requests_refused_total", model="target", reason="late")
    answers = await over_http(server, TOO_MANY)
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 429}
    assert 2 <= statuses[200] <= 10, "no more than fit into the target"
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert re.fullmatch(SENTENCE, answer.json()["error"])
    refused = metric(server, "tercet_requests_refused_total", model="target", reason="late") - before
    assert refused == statuses[429]
    assert metric(server, "tercet_saturation_ratio", model="target") > 0.5


async def test_over_grpc_too(server: Server):
    told = Counter(await over_grpc(server, TOO_MANY))
    assert set(told) == {"OK", "StatusCode.RESOURCE_EXHAUSTED"}


async def test_the_target_can_be_changed_while_the_server_runs(server: Server):
    path = "/v2/models/target/scheduling"
    assert server.client.post(path, json={"latency_target_ms": 60_000}).status_code == 200
    answers = await over_http(server, TOO_MANY)
    assert {answer.status_code for answer in answers} == {200}
    assert server.client.post(path, json={"latency_target_ms": None}).json()["latency_target_ms"] == 200
