"""The OpenAPI document tells the truth: schemathesis asks all that it offers, and holds the answers to it."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import validate
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.specs.openapi import checks

from tests.contract.models import ODD_NAME
from tests.contract.tables.paths import KNOWN
from tests.server_process import Server

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.negative_data_rejection,
]
EACH = settings(
    max_examples=3,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""Of each operation and kind of data: a few hundred requests in all."""


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get("/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def operations(document: dict[str, Any], server: Server) -> list[APIOperation]:
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://{server.http}")
    rejection = schema.config.checks.negative_data_rejection
    rejection.expected_statuses = [
        *rejection.expected_statuses,
        "413",
    ]  # made-up shapes may be too large, too
    return [result.ok() for result in schema.get_all_operations()]


@pytest.fixture(autouse=True, scope="module")
def unharmed(server: Server) -> Iterator[None]:
    """After all of it the server is ready, and has nothing to report."""
    yield
    assert server.ready()
    assert "Traceback" not in server.log
    assert "request_crashed" not in server.log


def test_it_is_valid(document: dict[str, Any]):
    validate(document)


@pytest.mark.parametrize("path", KNOWN)
def test_every_path_that_is_answered_is_there(document: dict[str, Any], path: str):
    verbs = {
        verb
        for told, operations in document["paths"].items()
        if re.fullmatch(re.sub(r"{\w+}", "[^/:]+", told), path)
        for verb in operations
    }
    assert verbs >= set(KNOWN[path].lower().split(", "))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_answer_is_as_the_document_says(operations: list[APIOperation], mode: GenerationMode):
    asked: Counter[str] = Counter()

    def ask(case: Case) -> None:
        answer = case.call()
        asked[f"{case.method} {case.path}"] += 1
        case.validate_response(answer, checks=CHECKS)

    for operation in operations:
        with suppress(Unsatisfiable):  # nothing can be wrong about a request that has no parts
            EACH(given(operation.as_strategy(generation_mode=mode))(ask))()
    assert asked.total() > 200
    assert len(asked) > 60


def test_every_example_is_answered_as_the_document_says(server: Server, operations: list[APIOperation]):
    bodies = [(operation, _json_body(operation)) for operation in operations]
    examples = [(operation, body["example"]) for operation, body in bodies if "example" in body]
    assert len(examples) > 30
    for operation, example in examples:
        case = operation.Case(body=example, media_type="application/json")
        answer = case.call()
        assert answer.status_code == 200, (operation.path, answer.text)
        case.validate_response(answer, checks=CHECKS[:-1])


def _json_body(operation: APIOperation) -> dict[str, Any]:
    body = operation.definition.raw.get("requestBody", {})
    found: dict[str, Any] = body.get("content", {}).get("application/json", {})
    return found


def test_a_model_of_an_odd_name_is_told_by_a_path_that_works(document: dict[str, Any], server: Server):
    told = document["paths"].items()
    paths = [path for path, verbs in told if any(ODD_NAME in verb["tags"] for verb in verbs.values())]
    assert len(paths) == 5
    for path in paths:
        assert re.fullmatch(r"[\w/%~.:-]+", path)
        assert server.client.post(path, content=b"{").status_code == 400
