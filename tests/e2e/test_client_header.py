"""With --fairness-header, a request carries the client that its header names, whichever way it comes."""

import gzip
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.e2e.streaming import aio
from tests.e2e.triton import tensors
from tests.e2e.workshop import CURIOUS_POST, CURIOUS_PRE, echo, put, times
from tests.server_process import Server, running

ROW = {"x": np.ones((1, 1), np.float32)}
PROGRAM = ("-m", "tests.e2e.clients_seen")


@pytest.fixture(scope="module", params=["auto", "grpcio"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    put(folder / "models", "double", times(2, 1), "max_batch_size: 8")
    options = ("--fairness-header=X-Tenant", f"--grpc-front={request.param}")
    with running(folder / "log", folder / "models", options=options, program=PROGRAM) as server:
        yield server


def seen(server: Server, request_id: str) -> set[str]:
    """For which clients the request of that id was taken."""
    return set(re.findall(rf"seen: {request_id}=(.*)", server.log))


def body(request_id: str) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    return {"id": request_id, "inputs": [tensor]}


def test_the_header_of_a_plain_request_names_the_client_again_and_again(server: Server):
    """On one connection, so that heads are known again; each has its own client."""
    asked = [(f"plain-{turn}-{client}", client) for turn in range(3) for client in ("blue", "red", "")]
    for request_id, client in asked:
        headers = {"x-tenant": client} if client else {}
        answer = server.client.post("/v2/models/double/infer", json=body(request_id), headers=headers)
        assert answer.status_code == 200
    assert [seen(server, request_id) for request_id, _ in asked] == [{client} for _, client in asked]


def test_the_long_way_over_http_takes_it_too(server: Server):
    def chunks() -> Iterator[bytes]:
        yield json.dumps(body("chunked")).encode()

    answer = server.client.post("/v2/models/double/infer", content=chunks(), headers={"X-TENANT": "green"})
    assert answer.status_code == 200, answer.text
    assert seen(server, "chunked") == {"green"}


def test_a_prompt_of_generate_takes_it_too(server: Server):
    asked = {"x": 1, "id": "prompt"}
    answer = server.client.post("/v2/models/double/generate", json=asked, headers={"x-tenant": "green"})
    assert answer.status_code == 200, answer.text
    assert seen(server, "prompt") == {"green"}


@pytest.mark.parametrize("protocol", [triton_http, triton_grpc], ids=["http", "grpc"])
def test_tritonclients_header_names_the_client(server: Server, protocol: Any):
    address = server.http if protocol is triton_http else server.grpc
    name = protocol.__name__.rpartition(".")[2]
    with protocol.InferenceServerClient(address) as client:
        inputs = tensors(protocol, ROW)
        client.infer("double", inputs, request_id=f"{name}-with", headers={"x-tenant": "blue"})
        client.infer("double", inputs, request_id=f"{name}-without")
    assert (seen(server, f"{name}-with"), seen(server, f"{name}-without")) == ({"blue"}, {""})


async def test_the_metadata_of_a_stream_name_the_client_of_all_its_requests(server: Server):
    async with aio(server, headers={"x-tenant": "stream"}) as stream:
        await stream.ask("double", ROW, request_id="first")
        await stream.told()
        await stream.ask("double", ROW, request_id="second")
        await stream.told()
    assert seen(server, "first") == seen(server, "second") == {"stream"}


def test_a_key_counts_up_to_256_characters_and_may_be_any_bytes(server: Server):
    text = json.dumps(body("long")).encode()
    host, _, port = server.http.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = (
            b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nx-tenant: %b\r\nContent-Length: %d\r\n\r\n"
        )
        connection.sendall(head % (b"\xfcx" * 300, len(text)) + text)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
    assert seen(server, "long") == {"üx" * 128}


def test_without_the_option_nobody_is_told_apart(tmp_path):
    put(tmp_path / "models", "double", times(2, 1), "max_batch_size: 8")
    with running(tmp_path / "log", tmp_path / "models", program=PROGRAM) as server:
        server.client.post("/v2/models/double/infer", json=body("plain"), headers={"x-tenant": "blue"})
        assert seen(server, "plain") == {""}


def test_a_header_that_names_the_client_and_is_forwarded_is_both(tmp_path):
    put(tmp_path / "models", "curious", echo(), "max_batch_size: 8", pre_py=CURIOUS_PRE, post_py=CURIOUS_POST)
    options = ("--fairness-header=x-tenant", "--http-header-forward-pattern=^x-")
    with running(tmp_path / "log", tmp_path / "models", options=options, program=PROGRAM) as server:
        asked = {"json": body("both"), "headers": {"x-tenant": "blue"}}
        told = server.client.post("/v2/models/curious/infer", **asked).json()["outputs"][0]["data"][0]
        assert json.loads(told)[1] == {"x-tenant": "blue"}
        assert seen(server, "both") == {"blue"}


def test_a_header_that_says_how_to_read_a_body_still_says_it(tmp_path):
    put(tmp_path / "models", "double", times(2, 1), "max_batch_size: 8")
    options = ["--fairness-header=content-encoding"]
    with running(tmp_path / "log", tmp_path / "models", options=options, program=PROGRAM) as server:
        packed = gzip.compress(json.dumps(body("packed")).encode())
        answer = server.client.post(
            "/v2/models/double/infer", content=packed, headers={"content-encoding": "gzip"}
        )
        assert answer.status_code == 200, answer.text
        assert seen(server, "packed") == {"gzip"}


def test_what_is_no_name_of_a_header_is_refused_at_the_start(tmp_path):
    with running(tmp_path / "log", tmp_path, options=["--fairness-header=a b"], wait=False) as server:
        assert server.wait() == 2
        assert "--fairness-header=a b: must be the name of a header" in server.log
