"""A Triton repository as people have it: every field configured, labels, several versions."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from onnx import helper

from protos import model_config_pb2 as pb
from protos.json_values import json_values
from tests.e2e.workshop import FLOAT, value, written
from tests.repository.test_every_field import EXAMPLES, LEAVES, UNUSED_OF_SERVED
from tests.server_process import Server, running

JSON_LOG = "--log-format=json"


def brightened(factor: float) -> bytes:
    """likeness = pixels * factor, for rows of three."""
    return written(
        [helper.make_node("Mul", ["pixels", "factor"], ["likeness"])],
        [value("pixels", FLOAT, "n", 3)],
        [value("likeness", FLOAT, "n", 3)],
        factor=np.float32(factor),
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(EXAMPLES / "served", folder / "served")
    for version, file in (("1", "model.onnx"), ("2", "model.onnx"), ("2", "model_t4.onnx")):
        (folder / "served" / version).mkdir(exist_ok=True)
        (folder / "served" / version / file).write_bytes(brightened(int(version)))
    (folder / "served" / "003").mkdir()  # not plainly written, so it is no version
    (folder / "served" / "warmup").mkdir()
    (folder / "served" / "warmup" / "photograph").write_bytes(bytes(12))
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("log") / "log", repository, options=[JSON_LOG]) as server:
        yield server


def ask(server: Server, version: str = "", classes: int = 0) -> list[Any]:
    path = f"/v2/models/served/versions/{version}/infer" if version else "/v2/models/served/infer"
    tensor = {"name": "pixels", "shape": [1, 1, 1, 3], "datatype": "FP32", "data": [1, 3, 2]}
    wanted = {"name": "likeness", "parameters": {"classification": classes}} if classes else None
    request = {"inputs": [tensor], "parameters": {"timeout": 5_000_000}}
    told = server.client.post(path, json={**request, **({"outputs": [wanted]} if wanted else {})})
    assert told.status_code == 200, told.text
    data: list[Any] = told.json()["outputs"][0]["data"]
    return data


def test_it_is_served_as_it_is_configured(server: Server):
    metadata = server.client.get("/v2/models/served").json()
    assert metadata["versions"] == ["1", "2"]
    assert metadata["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 1, 1, 3]}]
    assert metadata["outputs"] == [{"name": "likeness", "datatype": "FP32", "shape": [-1, 1, 3]}]
    assert (ask(server), ask(server, "1")) == ([2, 6, 4], [1, 3, 2])
    assert ask(server, "1", classes=2) == ["3.000000:1:dog", "2.000000:2:emu"]


def test_one_warning_names_all_that_is_not_used(server: Server):
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    (warning,) = [line for line in lines if line["event"] == "config_fields_not_used"]
    assert (warning["level"], warning["model"]) == ("warning", "served")
    assert tuple(warning["fields"]) == UNUSED_OF_SERVED


def test_clients_read_the_whole_configuration_with_every_scalar(server: Server):
    shown = server.client.get("/v2/models/served/config").json()
    with triton.InferenceServerClient(server.grpc) as client:
        message = client.get_model_config("served").config
    assert shown == json_values(pb.ModelConfig.FromString(message.SerializeToString()))
    assert shown["instance_group"][0]["rate_limiter"]["resources"][1] == {
        "name": "R2",
        "global": False,
        "count": 2,
    }
    assert (
        shown["dynamic_batching"]["priority_queue_policy"]["2"]["default_timeout_microseconds"] == 1_000_000
    )
    assert shown["model_warmup"][0]["inputs"]["pixels"]["dims"] == [1, 1, 3]
    top = {path.partition(".")[0] for path in LEAVES}
    assert top - shown.keys() == {"sequence_batching", "ensemble_scheduling"}, (
        "the choice is: dynamic_batching"
    )


def test_another_configuration_of_the_model_is_chosen_by_its_name(repository: Path, tmp_path: Path):
    with running(tmp_path / "log", repository, options=["--model-config-name=small"]) as server:
        assert server.client.get("/v2/models/served").json()["versions"] == ["1"]
        assert server.client.get("/v2/models/served/config").json()["max_batch_size"] == 2
        assert "config_fields_not_used" not in server.log


def test_a_field_that_triton_does_not_have_is_an_error_with_its_name_and_line(
    repository: Path, tmp_path: Path
):
    shutil.copytree(repository, tmp_path / "models")
    config = tmp_path / "models" / "served" / "config.pbtxt"
    line = config.read_text().count("\n") + 1
    config.write_text(config.read_text() + "dynamic_batchin { }\n")
    with running(tmp_path / "log", tmp_path / "models", wait=False) as server:
        server.until(lambda: "model_unavailable" in server.log)
        _, reason = server.index()["served", ""]
    assert reason.startswith(f"served/config.pbtxt:{line}:")
    assert "dynamic_batchin: there is no field 'dynamic_batchin'; did you mean 'dynamic_batching'?" in reason


def test_a_configuration_that_comes_with_a_load_is_held_against_the_same_list(
    repository: Path, tmp_path: Path
):
    options = ["--model-control-mode=explicit", JSON_LOG]
    with running(tmp_path / "log", repository, options=options) as server:
        config = json.dumps({"backend": "onnxruntime", "response_cache": {"enable": True}})
        body = {"parameters": {"config": config}}
        assert server.client.post("/v2/repository/models/served/load", json=body).status_code == 200
        server.until(lambda: '"fields":["response_cache"]' in server.log, within_s=5)
