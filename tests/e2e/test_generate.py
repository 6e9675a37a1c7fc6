"""`POST {model}/generate` and `…/generate_stream`: Triton's flat objects, for models of every kind."""

import gzip
import json
from typing import Any

import pytest

from tests.e2e.golden import golden
from tests.e2e.line import busy, executions
from tests.e2e.scrape import metric
from tests.server_process import Server

MEASURED = golden("iris/1/examples/one_of_each.json").inputs["measurements"].tolist()
PATIENTS = golden("diabetes/1/examples/two_patients.json")
PATIENT = {name: column[0, 0].item() for name, column in PATIENTS.inputs.items()}
VERBS = ("generate", "generate_stream")


def ask(server: Server, path: str, document: Any, **headers: str) -> tuple[int, str, Any]:
    """Status, content type, and the one document that came, as it is or as the one event of a stream."""
    answer = server.client.post(f"/v2/models/{path}", json=document, headers=headers)
    text = answer.text
    kind = answer.headers["content-type"]
    if kind.startswith("text/event-stream"):
        assert text.startswith("data: ")
        assert text.endswith("\n\n")
        text = text.removeprefix("data: ").removesuffix("\n\n")
        assert "\n" not in text
    return answer.status_code, kind, json.loads(text)


def asked(server: Server, path: str, document: Any) -> Any:
    """The same by both verbs, which differ in nothing but their form."""
    status, kind, told = ask(server, f"{path}/generate", document)
    assert (status, kind) == (200, "application/json"), told
    assert ask(server, f"{path}/generate_stream", document) == (
        *(200, "text/event-stream; charset=utf-8"),
        told,
    )
    return told


def test_a_text_goes_in_and_comes_out(workshop: Server):
    assert asked(workshop, "echo", {"said": "hello", "id": "42"}) == {
        "id": "42",
        "model_name": "echo",
        "model_version": "1",
        "heard": "hello",
    }


def test_several_elements_are_several_rows(workshop: Server):
    assert asked(workshop, "echo", {"said": ["a", "b"]})["heard"] == ["a", "b"]


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_a_vector_is_one_row(server: Server, version: str):
    told = asked(server, f"iris{version}", {"measurements": MEASURED[1]})
    assert told["label"] == 1
    assert len(told["probabilities"]) == 3


def test_rows_may_be_nested_or_flat(server: Server):
    nested = asked(server, "iris", {"measurements": MEASURED})
    assert nested["label"] == [0, 1, 2]
    assert asked(server, "iris", {"measurements": [each for row in MEASURED for each in row]}) == nested


def test_every_input_is_a_key_and_all_others_are_parameters(server: Server):
    told = asked(server, "diabetes", {**PATIENT, "heat": 0.5, "parameters": {"stream": False}})
    assert told["progression"] == pytest.approx(PATIENTS.outputs["progression"][0, 0], rel=1e-4)


@pytest.mark.parametrize("model", ["digits", "digits/versions/1", "digits_onnx"])
def test_a_model_with_code_of_its_own_is_asked_the_same_way(server: Server, model: str):
    (file,) = golden("digits/1/examples/seven.json").request["inputs"][0]["data"]
    told = asked(server, model, {"IMAGE": file})
    assert told["digit"] == 7
    assert told["model_name"] == model.partition("/")[0]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("path", "document", "status", "sentence"),
    [
        ("nobody", {}, 404, "Request for unknown model: 'nobody' is not found"),
        ("echo/versions/7", {}, 404, "Request for unknown model: 'echo' version 7 is not found"),
        ("echo/versions/abc", {}, 404, "failed to get model version from specified version string 'abc'"),
        ("echo", {}, 400, "expected 1 inputs but got 0 inputs for model 'echo': missing 'said'"),
        ("echo", {"text_input": "a"}, 400, "expected 1 inputs but got 0 inputs for model 'echo'"),
        ("echo", {"said": 5}, 400, "input 'said' for model 'echo' is BYTES, but element 0"),
        ("echo", {"said": ["a"] * 9}, 400, "inference request batch-size must be <= 8 for 'echo'"),
        ("picky", {"x": -1}, 400, "x must not be below 0, as it is a weight in kg"),
        ("picky", {"x": 1000}, 500, "the pre stage of model 'picky' version 1 failed"),
    ],
)
def test_what_is_refused_before_the_first_event_is_a_plain_json_error(
    workshop: Server, verb: str, path: str, document: Any, status: int, sentence: str
):
    came, kind, told = ask(workshop, f"{path}/{verb}", document)
    assert (came, kind) == (status, "application/json")
    assert told.keys() == {"error"}
    assert told["error"].startswith(sentence)


@pytest.mark.parametrize("verb", VERBS)
def test_neither_question_nor_answer_is_compressed(workshop: Server, verb: str):
    body = json.dumps({"said": "long " * 1000}).encode()
    path = f"/v2/models/echo/{verb}"
    refused = workshop.client.post(path, content=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert (refused.status_code, refused.json()) == (
        400,
        {"error": "Unsupported content-encoding, only 'identity' is supported."},
    )
    answer = workshop.client.post(
        path, content=body, headers={"Content-Encoding": "identity", "Accept-Encoding": "gzip"}
    )
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("verb", VERBS)
async def test_a_request_whose_time_is_over_is_told_so_and_never_run(workshop: Server, verb: str):
    before = executions(workshop)
    async with busy(workshop) as client:
        for how in ({"json": {"rounds": 1, "timeout": 50_000}}, {"headers": {"Tercet-Timeout-Ms": "50"}}):
            answer = await client.post(f"/v2/models/slow/{verb}", **{"json": {"rounds": 1}, **how})
            assert answer.status_code == 504
            assert answer.json() == {"error": "Request timeout expired for model 'slow'"}
    assert executions(workshop) - before == 2  # those that kept it busy


@pytest.mark.parametrize("verb", VERBS)
def test_it_is_counted_and_has_its_line_in_the_log(workshop: Server, verb: str):
    def count() -> float:
        return metric(workshop, "nv_inference_request_success", model="tagged")

    before = count()
    assert ask(workshop, f"tagged/{verb}", {"x": [[1, 2], [3, 4]], "id": f"by {verb}"})[0] == 200
    assert count() - before == 1
    lines: list[dict[str, Any]] = []

    def logged() -> bool:
        told = [json.loads(line) for line in workshop.log.splitlines() if f'"by {verb}"' in line]
        lines[:] = told
        return bool(told)

    workshop.until(logged)
    (line,) = lines
    assert (line["model"], line["version"], line["rows"], line["status"]) == ("tagged", "1", 2, 200)
