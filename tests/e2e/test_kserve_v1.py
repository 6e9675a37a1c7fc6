"""KServe's V1 protocol: instances in, predictions out, by kserve's own client and by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.golden import golden
from tests.e2e.workshop import put, times
from tests.server_process import Server, running

ROWS = golden("iris/1/examples/one_of_each.json").inputs["measurements"].tolist()
PROGRESSIONS = golden("diabetes/1/examples/two_patients.json").outputs["progression"][:, 0].tolist()


@pytest.fixture
def calls(came_of: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return came_of["v1"]


def test_the_client_finds_the_server_and_its_models(calls: dict[str, Any]):
    assert calls["live"] is True
    assert calls["iris is ready"] is True
    assert calls["nobody is ready"] == [404, "Request for unknown model: 'nobody' is not found"]


@pytest.mark.parametrize("call", ["iris", "iris by name", "iris as inputs"])
def test_several_outputs_come_as_objects(calls: dict[str, Any], call: str):
    rows = calls[call]["predictions"]
    assert [row["label"] for row in rows] == [0, 1, 2]
    assert [len(row["probabilities"]) for row in rows] == [3, 3, 3]


def test_one_output_comes_as_bare_values(calls: dict[str, Any]):
    assert calls["diabetes"] == {"predictions": pytest.approx(PROGRESSIONS, rel=1e-4)}


def test_files_are_instances_in_base64(calls: dict[str, Any]):
    assert [row["digit"] for row in calls["digits"]["predictions"]] == [7, 7]


@pytest.mark.parametrize(
    ("call", "status", "sentence"),
    [
        ("unknown model", 404, "Request for unknown model: 'nobody' is not found"),
        ("wrong shape", 400, "row 1: field 'measurements' of model 'iris' must be a list of shape [4]"),
        ("explain", 501, "explanations are not offered"),
    ],
)
def test_a_refusal_reaches_the_caller_in_words(calls: dict[str, Any], call: str, status: int, sentence: str):
    came, said = calls[call]
    assert came == status
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    "name", ["iris:predict", "iris%3Apredict", "ir%69s%3apredict", "iris/versions/1:predict"]
)
def test_the_colon_may_be_percent_encoded_and_a_version_named(server: Server, name: str):
    answer = server.client.post(f"/v1/models/{name}", json={"instances": ROWS})
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == 3


def test_every_model_is_listed_and_says_whether_it_is_ready(server: Server):
    assert server.client.get("/v1/models").json() == {"models": ["diabetes", "digits", "digits_onnx", "iris"]}
    answer = server.client.get("/v1/models/iris")
    assert (answer.status_code, answer.json()) == (200, {"name": "iris", "ready": True})


def test_a_model_that_does_not_serve_is_503_and_one_that_is_unknown_404(tmp_path: Path):
    put(tmp_path / "models", "double", times(2))
    put(tmp_path / "models", "broken", b"this is not a model")
    with running(
        tmp_path / "log", tmp_path / "models", options=["--repository-settle-secs=0"], wait=False
    ) as server:
        server.until(lambda: "server_ready" in server.log)
        broken = server.client.get("/v1/models/broken")
        assert broken.status_code == 503
        assert broken.json()["ready"] is False
        assert broken.json()["error"] == "Request for unknown model: 'broken' has no available versions"
        unknown = server.client.get("/v1/models/nobody")
        assert unknown.status_code == 404
        assert unknown.json() == {"error": "Request for unknown model: 'nobody' is not found"}
        assert server.client.get("/v1/models").json() == {"models": ["double"]}


def test_it_is_counted_and_has_its_line_in_the_log(workshop: Server):
    def count() -> int:
        (told,) = workshop.client.get("/v2/models/tagged/stats").json()["model_stats"]
        success: int = told["inference_stats"]["success"]["count"]
        return success

    before = count()
    answer = workshop.client.post("/v1/models/tagged:predict", json={"instances": [[1, 2], [3, 4], [5, 6]]})
    assert answer.json() == {"predictions": [[3, 6], [9, 12], [15, 18]]}
    assert count() - before == 1

    def logged() -> bool:
        lines = (json.loads(line) for line in workshop.log.splitlines() if '"tagged"' in line)
        return any(line.get("rows") == 3 and line["status"] == 200 for line in lines)

    workshop.until(logged)
