"""What the OpenAPI document promises, held against the server that wrote it: schemathesis reads it and asks.

One test for requests that are as the document says, one for requests that are not. Each takes its cases from
all operations at once, and the answers are held against the document, too.
"""

from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from tests.contract.question import Question, Tensor
from tests.fuzz.harm import LATE, NOT_ALLOWED, Watched
from tests.server_process import SAMPLES, Server, running

fuzz = settings.get_profile("fuzz")
PATIENCE_S = 10.0
NO_FAULT = {501: "", 503: NOT_ALLOWED, 504: LATE}
"""What a server may say from 500 on: that it does not offer it, takes no orders, or has had no time."""
FLOWER = Question("iris", [Tensor("measurements", "FP32", [1, 4], [5.1, 3.5, 1.4, 0.2])])


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The sample models, which nobody may load or unload."""
    with running(tmp_path_factory.mktemp("samples") / "log", SAMPLES) as server:
        yield server


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
def test_any_request_of_the_document_or_near_it(samples: Server, mode: GenerationMode):
    address = f"http://{samples.http}"
    document = schemathesis.openapi.from_url(f"{address}/openapi.json")
    asked: dict[str, int] = {}
    with requests.Session() as session, Watched(samples, FLOWER):

        @settings(fuzz, max_examples=fuzz.max_examples // len(GenerationMode))
        @given(document.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            asked[case.operation.label] = asked.get(case.operation.label, 0) + 1
            response = case.call(base_url=address, session=session, timeout=PATIENCE_S)
            if response.status_code >= 500:
                assert NO_FAULT[response.status_code] in response.json()["error"]
            elif response.status_code >= 400:
                assert response.json()["error"]
            case.validate_response(response, checks=[status_code_conformance, response_schema_conformance])

        ask()
    assert any(label.endswith("/infer") for label in asked), asked
