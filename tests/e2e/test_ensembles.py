"""Ensembles of ONNX and TorchScript models, asked by public clients."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from tests.e2e.analyzer import perf_analyzer
from tests.e2e.ensembles import DIAMOND, OVER, furnish, plus_both, put_ensemble
from tests.e2e.line import HALF_A_SECOND, busy, executions, until, waiting
from tests.e2e.scrape import metric, scrape
from tests.e2e.test_perf_analyzer import counted, ran
from tests.e2e.triton import Ask, asking, tensors
from tests.e2e.workshop import put, times
from tests.server_process import ROOT, Server, running

SHORTER = HALF_A_SECOND // 2
PAIR = {"X": np.array([[1, 2], [3, 4]], np.float32)}


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("ensembles")
    furnish(folder)
    with running(tmp_path_factory.mktemp("log") / "log", folder) as server:
        yield server


@pytest.fixture(params=[triton_http, triton_grpc], ids=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param
    return module


@pytest.fixture
async def ask(protocol: ModuleType, kitchen: Server) -> AsyncIterator[Ask]:
    async with asking(protocol, kitchen.http if protocol is triton_http else kitchen.grpc) as ask:
        yield ask


async def outputs(
    ask: Ask, protocol: ModuleType, model: str, inputs: dict[str, np.ndarray], *wanted: str
) -> dict[str, Any]:
    asked = [protocol.InferRequestedOutput(name) for name in wanted] or None
    answer = await ask("infer", model, tensors(protocol, inputs), outputs=asked)
    told = answer.get_response()
    named = told["outputs"] if isinstance(told, dict) else told.outputs
    names = [each["name"] if isinstance(told, dict) else each.name for each in named]
    return {name: answer.as_numpy(name).tolist() for name in names}


# Answers


async def test_branches_meet_and_ensembles_stand_on_ensembles(ask: Ask, protocol: ModuleType):
    assert await outputs(ask, protocol, "diamond", PAIR) == {
        "Y": [[5, 10], [15, 20]],
        "left": [[2, 4], [6, 8]],
    }
    assert await outputs(ask, protocol, "over", PAIR) == {"Y": [[10, 20], [30, 40]]}


async def test_the_outputs_that_are_asked_for_come_in_that_order(ask: Ask, protocol: ModuleType):
    came = await outputs(ask, protocol, "diamond", PAIR, "left", "Y")
    assert list(came) == ["left", "Y"]
    assert list(await outputs(ask, protocol, "diamond", PAIR, "left")) == ["left"]


async def test_text_goes_through_a_tokenizer_to_a_classifier_and_comes_out_as_labels(
    ask: Ask, protocol: ModuleType
):
    texts = {"TEXT": np.array([[b"cabbage"], [b"bob"]], object)}
    assert await outputs(ask, protocol, "spotter", texts) == {"KIND": [[4, 4, 2], [0, 4, 0]]}
    wanted = protocol.InferRequestedOutput("KIND", class_count=1)
    answer = await ask("infer", "spotter", tensors(protocol, texts), outputs=[wanted])
    assert answer.as_numpy("KIND").ravel().tolist() == [b"4.000000:0:ant", b"4.000000:1:bee"]


async def test_an_ensemble_may_have_no_batch_dimension_over_a_model_that_has_one(
    ask: Ask, protocol: ModuleType
):
    came = await outputs(ask, protocol, "alone", {"X": np.array([1, 2], np.float32)})
    assert came == {"Y": [2, 4]}


@pytest.fixture(scope="module")
def came_of(kitchen: Server) -> dict[str, Any]:
    """What kserve's clients get."""
    command = [sys.executable, "-m", "tests.e2e.kserve_ensemble_calls", kitchen.http, kitchen.grpc]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    came: dict[str, Any] = json.loads(done.stdout)
    return came


@pytest.mark.parametrize(("client", "code"), [("rest", 400), ("grpc", "INVALID_ARGUMENT")])
def test_kserves_clients_get_the_same(came_of: dict[str, Any], client: str, code: int | str):
    came = came_of[client]
    assert came["is ready"] is True
    assert came["over"]["outputs"] == {"Y": [[10, 20]]}
    assert came["spotter"]["outputs"] == {"KIND": [[4, 4, 2]]}
    sentence = "in ensemble 'choosy', model 'picky': x must not be below 0, as it is a weight in kg"
    assert came["choosy"] == [code, sentence]


def test_an_ensemble_is_asked_in_plain_json(kitchen: Server):
    answer = kitchen.client.post("/v2/models/spotter/predict", json={"TEXT": "cabbage"})
    assert answer.json() == {"KIND": [4, 4, 2]}


# Refusals


@pytest.mark.parametrize(
    ("x", "codes", "sentence"),
    [
        (-1, ("400", "INVALID_ARGUMENT"), "in ensemble 'choosy', model 'picky': x must not be below 0"),
        (500, ("500", "INTERNAL"), "in ensemble 'choosy', the pre stage of model 'picky' version 1 failed"),
    ],
)
async def test_a_step_that_fails_is_named(
    ask: Ask, protocol: ModuleType, x: float, codes: tuple[str, str], sentence: str
):
    with pytest.raises(InferenceServerException) as refused:
        await outputs(ask, protocol, "choosy", {"X": np.array([[x]], np.float32)})
    assert refused.value.status() in (codes[0], f"StatusCode.{codes[1]}")
    assert refused.value.message().startswith(sentence)


def question(rounds: int = 1, **parameters: int) -> dict[str, Any]:
    """The body of an infer request to `line`."""
    tensor = {"name": "X", "shape": [1, 1], "datatype": "FP32", "data": [rounds]}
    return {"inputs": [tensor], "parameters": parameters}


async def test_a_full_member_refuses_and_a_step_with_a_limit_waits_for_its_turn(kitchen: Server):
    """Of `slow` one runs and two may wait; `narrow` lets one of its requests at a time go there."""
    async with busy(kitchen, SHORTER) as client:
        narrow = [
            asyncio.create_task(client.post("/v2/models/narrow/infer", json=question())) for _ in range(3)
        ]
        await until(lambda: waiting(kitchen) == 2)
        refused = await client.post("/v2/models/line/infer", json=question())
        assert [(await each).status_code for each in narrow] == [200] * 3
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    full = "Exceeds maximum queue size: model 'slow' already has 2 requests waiting"
    assert refused.json() == {"error": f"in ensemble 'line', {full}"}


async def test_a_deadline_holds_for_all_steps_together(kitchen: Server):
    before = metric(kitchen, "nv_inference_count", model="triple")
    async with busy(kitchen, SHORTER) as client:
        late = await client.post("/v2/models/line/infer", json=question(timeout=100_000))
    assert late.status_code == 504
    assert "Request timeout expired" in late.json()["error"]
    assert metric(kitchen, "nv_inference_count", model="triple") == before


def left(server: Server) -> float:
    """How many callers of `line` have gone away."""
    return metric(server, "nv_inference_request_failure", model="line", reason="CANCELED")


@asynccontextmanager
async def nothing_more_done(server: Server) -> AsyncIterator[None]:
    """While `slow` is busy, one caller of `line` comes, waits for it, and goes: no more is run."""
    ran_before, tripled = executions(server), metric(server, "nv_inference_count", model="triple")
    left_before = left(server)
    async with busy(server):
        yield
        await until(lambda: left(server) == left_before + 1)
        assert waiting(server) == 1
    assert executions(server) - ran_before == 2
    assert metric(server, "nv_inference_count", model="triple") == tripled


async def test_an_http_client_that_leaves_takes_its_queued_work_of_a_later_step_along(kitchen: Server):
    body = json.dumps(question()).encode()
    head = f"POST /v2/models/line/infer HTTP/1.1\r\nHost: tercet\r\nContent-Length: {len(body)}\r\n\r\n"
    async with nothing_more_done(kitchen):
        _, writer = await asyncio.open_connection(*kitchen.http.split(":"))
        writer.write(head.encode() + body)
        await until(lambda: waiting(kitchen) == 2)
        writer.close()


async def test_a_grpc_client_that_cancels_takes_its_queued_work_of_a_later_step_along(kitchen: Server):
    told: Future[Any] = Future()
    inputs = tensors(triton_grpc, {"X": np.ones((1, 1), np.float32)})
    with triton_grpc.InferenceServerClient(kitchen.grpc) as client:
        async with nothing_more_done(kitchen):
            call = client.async_infer("line", inputs, lambda result, error: told.set_result(error))
            await until(lambda: waiting(kitchen) == 2)
            call.cancel()
    assert told.result(5).status() == "StatusCode.CANCELLED"


# What clients are told


async def test_metadata_and_configuration_are_those_of_an_ensemble(ask: Ask, protocol: ModuleType):
    how = {"as_json": True} if protocol is triton_grpc else {}
    metadata = await ask("get_model_metadata", "over", **how)
    assert metadata["platform"] == "ensemble"
    assert [int(size) for size in metadata["inputs"][0]["shape"]] == [-1, 2]
    config = await ask("get_model_config", "over", **how)
    config = config.get("config", config)
    assert config["platform"] == "ensemble"
    assert not config.get("backend")
    steps = config["ensemble_scheduling"]["step"]
    assert [(step["model_name"], int(step["model_version"])) for step in steps] == [
        ("diamond", -1),
        ("double", -1),
    ]
    assert steps[0]["output_map"] == {"Y": "five"}


async def figures(ask: Ask, protocol: ModuleType, model: str) -> dict[str, int]:
    how = {"as_json": True} if protocol is triton_grpc else {}
    (told,) = (await ask("get_inference_statistics", model, **how))["model_stats"]
    spans = {
        member: int(told["inference_stats"][member].get("count", 0))
        for member in ("success", "queue", "compute_infer", "compute_input", "compute_output")
    }
    return {key: int(told.get(key, 0)) for key in ("inference_count", "execution_count")} | spans


async def test_statistics_count_the_ensemble_and_each_member(ask: Ask, protocol: ModuleType):
    models = {"over": 1, "diamond": 1, "double": 2, "triple": 1, "sum": 1}
    before = {model: await figures(ask, protocol, model) for model in models}
    await outputs(ask, protocol, "over", PAIR)
    for model, runs in models.items():
        after = await figures(ask, protocol, model)
        grown = {key: after[key] - before[model][key] for key in after}
        assert grown.pop("inference_count") == 2 * runs, model
        assert set(grown.values()) == {runs}, model


def test_metrics_show_the_ensemble_and_the_time_of_each_of_its_steps(kitchen: Server):
    assert kitchen.client.post("/v2/models/over/predict", json={"X": [1, 2]}).status_code == 200
    assert metric(kitchen, "nv_inference_request_success", model="over") >= 1
    assert metric(kitchen, "tercet_request_duration_seconds_count", model="over") >= 1
    steps = {
        labels["stage"]
        for name, labels, _ in scrape(kitchen)
        if name == "tercet_stage_duration_seconds_count" and labels["model"] == "over"
    }
    assert steps == {"diamond", "double"}


def test_the_index_and_the_welcome_show_ensembles_as_ready(kitchen: Server):
    assert kitchen.index()["over", "1"] == ("READY", "")
    assert kitchen.client.get("/v2/models/over/ready").status_code == 200
    assert re.search(r"^over +1 +READY +ensemble", kitchen.log, re.MULTILINE)


def test_the_page_has_a_typed_example_that_works(kitchen: Server):
    document = kitchen.client.get("/openapi.json").json()
    content = document["paths"]["/v2/models/over/infer"]["post"]["requestBody"]["content"]
    example = content["application/json"]["example"]
    assert example["inputs"][0]["datatype"] == "FP32"
    assert kitchen.client.post("/v2/models/over/infer", json=example).status_code == 200


@pytest.mark.perf_analyzer
def test_perf_analyzer_measures_an_ensemble_with_its_members(kitchen: Server):
    assert perf_analyzer() is not None
    report = ran(kitchen, "http", "-m", "over", "--request-count=20")
    assert counted(report, "Request count") >= 20
    assert "Composing models" in report


def test_what_an_ensemble_lacks_is_told_at_the_start(tmp_path: Path):
    put(tmp_path / "models", "double", times(2))
    put(tmp_path / "models", "triple", b"this is no model")
    put(tmp_path / "models", "sum", plus_both())
    for name, config in (("diamond", DIAMOND), ("over", OVER)):
        put_ensemble(tmp_path / "models", name, config.replace("max_batch_size: 8", "max_batch_size: 4"))
    options = ["--repository-settle-secs=0"]
    with running(tmp_path / "log", tmp_path / "models", options=options, wait=False) as server:
        server.until(lambda: "server_ready" in server.log)
        index = server.index()
        assert index["sum", "1"] == ("READY", "")
        lacks = "ensemble '{}' depends on '{}', which has no loaded version"
        assert index["diamond", "1"] == ("UNAVAILABLE", lacks.format("diamond", "triple"))
        assert index["over", "1"] == ("UNAVAILABLE", lacks.format("over", "diamond"))
        assert not server.ready()
        refused = server.client.post("/v2/models/over/versions/1/predict", json={"X": [1, 2]})
        assert refused.status_code == 503
        assert lacks.format("over", "diamond") in refused.json()["error"]


def test_an_ensemble_serves_once_it_answers_its_golden_examples(tmp_path: Path):
    put(tmp_path / "models", "double", times(2))
    put(tmp_path / "models", "triple", times(3))
    put(tmp_path / "models", "sum", plus_both())
    put_ensemble(tmp_path / "models", "diamond", DIAMOND.replace("max_batch_size: 8", "max_batch_size: 4"))
    file = tmp_path / "models" / "diamond" / "1" / "examples" / "ones.json"
    file.parent.mkdir()

    def say(answer: float) -> None:
        tensors = [
            {"name": name, "shape": [1, 2], "datatype": "FP32", "data": [value, value]}
            for name, value in (("X", 1), ("Y", answer))
        ]
        file.write_text(
            json.dumps({"request": {"inputs": tensors[:1]}, "response": {"outputs": tensors[1:]}})
        )

    say(6)
    options = ["--repository-settle-secs=0", "--repository-poll-secs=0.2", "--verify-models=true"]
    with running(tmp_path / "log", tmp_path / "models", options=options, wait=False) as server:
        server.until(lambda: "server_ready" in server.log)
        assert server.index()["diamond", "1"] == (
            "UNAVAILABLE",
            "golden example 'ones': output 'Y' is 5 at [0, 0] where 6 was expected (tolerance 0.0001)",
        )
        assert server.index()["sum", "1"] == ("READY", "")
        say(5)
        server.until(lambda: server.index()["diamond", "1"] == ("READY", ""))
        answer = server.client.post("/v2/models/diamond/predict", json={"X": [1, 2]})
        assert answer.status_code == 200
