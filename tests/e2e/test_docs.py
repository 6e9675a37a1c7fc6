"""The API page: everything it needs comes from the server, and all that it shows works."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server_process import Server

SCHEMA_WORDS = {
    *("type", "title", "description", "format", "required", "properties", "additionalProperties"),
    *("items", "minItems", "maxItems", "minimum", "maximum", "enum", "oneOf", "nullable"),
}
"""Those of OpenAPI 3.0 that ours use. `const`, which JSON Schema has, is none."""


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


def schemas(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema of the document, nested ones too."""
    waiting = [
        content["schema"]
        for _, _, operation in operations(document)
        for body in (operation.get("requestBody", {}), *operation["responses"].values())
        for content in body.get("content", {}).values()
    ]
    while waiting:
        schema = waiting.pop()
        yield schema
        waiting += schema.get("oneOf", [])
        waiting += schema.get("properties", {}).values()
        if "items" in schema:
            waiting.append(schema["items"])


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


def test_every_model_is_there_to_be_asked_in_both_ways(document: dict[str, Any]):
    asked = {
        path for path, verb, _ in operations(document) if verb == "post" and path.startswith("/v2/models/")
    }
    assert asked == {
        f"/v2/models/{model}/{verb}"
        for model in ("iris", "diabetes", "digits", "digits_onnx")
        for verb in ("infer", "predict")
    }


def test_every_example_is_a_good_question(server: Server, document: dict[str, Any]):
    examples = {
        path: operation["requestBody"]["content"]["application/json"]["example"]
        for path, verb, operation in operations(document)
        if "requestBody" in operation
    }
    assert len(examples) == 8
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
        (path.replace("{model}", "iris"), verb)
        for path, verb, operation in operations(document)
        if operation["tags"] == ["server"] and not path.endswith(("/load", "/unload"))
    ]
    assert len(asked) == 10
    for path, verb in asked:
        assert server.client.request(verb, path).status_code == 200, path


def test_the_document_keeps_to_openapi_3_0(document: dict[str, Any]):
    assert document["openapi"].startswith("3.0.")
    assert {"title", "version"} <= document["info"].keys()
    for path, verb, operation in operations(document):
        assert re.fullmatch(r"(/[^/]+)+", path)
        assert verb in ("get", "post")
        named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
        assert operation["responses"]
        assert all(response["description"] for response in operation["responses"].values())
    found = list(schemas(document))
    assert len(found) > 50
    for schema in found:
        assert schema.keys() <= SCHEMA_WORDS
        assert ("items" in schema) == (schema.get("type") == "array")
