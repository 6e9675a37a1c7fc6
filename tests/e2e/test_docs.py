"""The API page: everything it needs comes from the server, and all that it shows works."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.server_process import Server


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    answer = server.client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            yield path, verb, operation


def test_the_page_asks_nobody_else_for_anything(server: Server):
    page = server.client.get("/docs")
    assert page.status_code == 200
    needed = re.findall(r'(?:src|href)="([^"]+)"', page.text) + re.findall(r'url: "([^"]+)"', page.text)
    assert {"/docs/assets/swagger-ui-bundle.js", "/docs/assets/swagger-ui.css", "/openapi.json"} <= set(
        needed
    )
    for path in needed:
        assert re.match(r"/[^/]", path), path
        assert server.client.get(path).status_code == 200, path
    styles = server.client.get("/docs/assets/swagger-ui.css").text
    assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", styles) == []


MODELS = ("iris", "diabetes", "digits", "digits_onnx")
WAYS = (
    *("/v2/models/{}/infer", "/v2/models/{}/predict", "/v2/models/{}/generate"),
    *("/v2/models/{}/generate_stream", "/v1/models/{}:predict"),
)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_there_to_be_asked_in_every_way(document: dict[str, Any], model: str):
    asked = {path for path, verb, operation in operations(document) if operation["tags"] == [model]}
    assert asked == {way.format(model) for way in WAYS}


def test_every_example_is_a_good_question(server: Server, document: dict[str, Any]):
    examples = {
        path: content["example"]
        for path, _, operation in operations(document)
        if "requestBody" in operation
        and "example" in (content := operation["requestBody"]["content"]["application/json"])
    }
    assert len(examples) == len(MODELS) * len(WAYS)
    for path, example in examples.items():
        answer = server.client.post(path, json=example)
        assert answer.status_code == 200, (path, answer.text)


def test_a_models_example_is_one_of_its_golden_ones(server: Server, document: dict[str, Any]):
    content = document["paths"]["/v2/models/digits/predict"]["post"]["requestBody"]["content"]
    example = content["application/json"]["example"]
    assert server.client.post("/v2/models/digits/predict", json=example).json()["digit"] == 7


def test_a_model_that_takes_a_file_says_so(document: dict[str, Any]):
    def kinds(model: str) -> set[str]:
        return set(document["paths"][f"/v2/models/{model}/predict"]["post"]["requestBody"]["content"])

    assert kinds("digits") == {"application/json", "image/png", "image/jpeg", "application/octet-stream"}
    assert kinds("iris") == {"application/json"}


def test_every_path_of_the_server_itself_is_there_and_answers(server: Server, document: dict[str, Any]):
    asked = [
        (path.format(model="iris", version="1"), verb)
        for path, verb, operation in operations(document)
        if operation["tags"] in (["server"], ["repository"])
        and "200" in operation["responses"]
        and not path.endswith(("/load", "/unload"))
    ]
    assert len(asked) == 23
    for path, verb in asked:
        assert server.client.request(verb, path).status_code == 200, path


def test_the_document_is_one_of_openapi_3_0(document: dict[str, Any]):
    assert document["openapi"].startswith("3.0.")
    validate(document)


def test_every_refusal_that_is_told_has_the_one_shape(document: dict[str, Any]):
    for path, verb, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status != "200":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}, (path, verb, status)


def test_models_and_versions_are_those_that_serve(document: dict[str, Any]):
    (model, version) = document["paths"]["/v2/models/{model}/versions/{version}"]["get"]["parameters"]
    assert model["schema"]["enum"] == sorted(MODELS)
    assert version["schema"]["enum"] == ["1", "2"]
