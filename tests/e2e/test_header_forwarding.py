"""Headers that match the operator's pattern reach the model's own code as parameters of the request."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.e2e.triton import tensors
from tests.e2e.workshop import furnish
from tests.server_process import Server, running

ROW = {"x": np.ones((1, 1), np.float32)}
PATTERNS = ("--http-header-forward-pattern=^x-tenant", "--grpc-header-forward-pattern=(?-i)^x-tenant")


@pytest.fixture(scope="module", params=["auto", "grpcio"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("forwarding")
    (folder / "models").mkdir()
    furnish(folder / "models")
    options = (*PATTERNS, f"--grpc-front={request.param}")
    with running(folder / "log", folder / "models", options=options) as server:
        yield server


def told(server: Server, headers: dict[str, str], **parameters: Any) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    body = {"inputs": [tensor], "parameters": parameters}
    answer = server.client.post("/v2/models/curious/infer", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["outputs"][0]["data"][0])[1]


def test_a_header_whose_name_matches_is_a_parameter_and_another_is_not(server: Server):
    assert told(server, {"X-Tenant-Id": "blue", "x-other": "red"}) == {"x-tenant-id": "blue"}


def test_a_request_without_such_a_header_has_no_such_parameter(server: Server):
    assert told(server, {}) == {}
    assert told(server, {"X-Tenant-Id": "blue"}) == {"x-tenant-id": "blue"}
    assert told(server, {}) == {}


def test_a_parameter_of_the_request_itself_goes_before_a_header(server: Server):
    assert told(server, {"x-tenant": "blue"}, **{"x-tenant": "red", "depth": 3}) == {
        "x-tenant": "red",
        "depth": 3,
    }


@pytest.mark.parametrize("protocol", [triton_http, triton_grpc], ids=["http", "grpc"])
def test_tritonclients_headers_are_forwarded(server: Server, protocol: Any):
    address = server.http if protocol is triton_http else server.grpc
    with protocol.InferenceServerClient(address) as client:
        answer = client.infer("curious", tensors(protocol, ROW), headers={"x-tenant-id": "blue"})
        plain = client.infer("curious", tensors(protocol, ROW))
    assert json.loads(answer.as_numpy("before").item())[1] == {"x-tenant-id": "blue"}
    assert json.loads(plain.as_numpy("before").item())[1] == {}


def test_a_pattern_that_is_none_is_refused_at_the_start(tmp_path):
    with running(
        tmp_path / "log", tmp_path, options=["--http-header-forward-pattern=("], wait=False
    ) as server:
        assert server.wait() == 2
        assert "--http-header-forward-pattern=(: must be a regular expression" in server.log
