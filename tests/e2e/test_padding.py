"""The configuration of docs/batching.md, served: lengths share runs, and large requests go in pieces."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

from tests.e2e.line import executions, question, until, waiting
from tests.e2e.scrape import metric
from tests.e2e.triton import tensors
from tests.e2e.workshop import attentive, put, slow, times
from tests.server_process import ROOT, Server, running

CONFIG = re.findall(r"```\n(.*?)```", (ROOT / "docs/batching.md").read_text(), re.DOTALL)[0]

IN_PIECES = """
max_batch_size: 1
instance_group { kind: KIND_CPU count: 1 }
dynamic_batching { default_queue_policy { max_queue_size: 8 } }
parameters { key: "tercet.split_requests" value: { string_value: "true" } }
"""

UNKNOWN_MASK = """
max_batch_size: 8
parameters { key: "tercet.pad_buckets" value: { string_value: "8" } }
parameters { key: "tercet.pad_mask_input" value: { string_value: "attention" } }
"""

LENGTHS = [*range(5, 61)]
LONG = 4000
"""Rounds of `slow` that take some quarter of a second."""

Infer = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("padding")
    put(folder / "models", "encoder", attentive(), CONFIG)
    put(folder / "models", "slow", slow(), IN_PIECES)
    put(folder / "models", "double", times(2, 1), "max_batch_size: 8")
    put(folder / "models", "unmasked", attentive(), UNKNOWN_MASK)
    put(folder / "models", "misspelt", times(2), UNKNOWN_MASK.replace("pad_buckets", "pad_bucket"))
    log = folder / "log"
    with running(log, folder / "models", options=["--strict-readiness=false"]) as server:
        for model in ("encoder", "slow", "double"):
            server.until(lambda model=model: server.client.get(f"/v2/models/{model}/ready").is_success)
        yield server


@pytest.fixture(params=["http", "grpc"])
async def infer(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Infer]:
    """Asks a model with named arrays, over either protocol."""
    if request.param == "http":
        client: Any = triton_http_aio.InferenceServerClient(server.http, conn_limit=64)
        kinds = triton_http
    else:
        client, kinds = triton_grpc_aio.InferenceServerClient(server.grpc), triton_grpc

    async def ask(model: str, **inputs: np.ndarray) -> Any:
        return await client.infer(model, tensors(kinds, inputs))

    async with client:
        yield ask


@pytest.fixture(scope="module")
def alone() -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """What the model itself answers: one request in one run, without padding."""
    session = onnxruntime.InferenceSession(attentive(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(ids: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"ids": ids, "mask": np.ones_like(ids)}), strict=True))

    return run


def words(length: int, rows: int = 1) -> np.ndarray:
    return np.random.default_rng(length).integers(0, 100, size=(rows, length))


def counts(server: Server, model: str) -> np.ndarray:
    """Requests, rows and runs so far."""
    (told,) = server.client.get(f"/v2/models/{model}/stats").json()["model_stats"]
    requests = told["inference_stats"]["success"]["count"]
    assert told["inference_stats"]["queue"]["count"] == requests
    return np.array([requests, told["inference_count"], told["execution_count"]])


async def test_lengths_from_5_to_60_at_once_run_in_batches_of_4_and_more_and_have_their_own_answers(
    infer: Infer, server: Server, alone: Callable[[np.ndarray], dict[str, np.ndarray]]
):
    before = counts(server, "encoder")
    asked = [words(length) for length in LENGTHS * 4]
    answers = await asyncio.gather(*(infer("encoder", ids=ids) for ids in asked))
    requests, rows, runs = counts(server, "encoder") - before
    assert requests == rows == len(asked)
    assert rows / runs >= 4
    for ids, answer in zip(asked, answers, strict=True):
        for name, expected in alone(ids).items():
            np.testing.assert_allclose(answer.as_numpy(name), expected, rtol=1e-5, atol=1e-5)


async def test_a_client_may_send_its_own_mask(infer: Infer, alone: Any):
    ids = np.concatenate([words(6), np.full((1, 4), 50)], axis=1)
    answer = await infer("encoder", ids=ids, mask=np.array([[1] * 6 + [0] * 4]))
    assert answer.as_numpy("contexts").shape == (1, 10, 4)
    np.testing.assert_allclose(answer.as_numpy("mean"), alone(words(6))["mean"], rtol=1e-5, atol=1e-5)


def test_clients_read_that_they_can_leave_the_mask_out(server: Server):
    metadata = server.client.get("/v2/models/encoder").json()
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["ids", "mask"]
    config = server.client.get("/v2/models/encoder/config").json()
    assert [(tensor["name"], tensor["optional"]) for tensor in config["input"]] == [
        ("ids", False),
        ("mask", True),
    ]
    plain = server.client.post("/v2/models/encoder/predict", json={"ids": [1, 2, 3]})
    assert len(plain.json()["contexts"]) == 3


def test_operators_see_how_much_was_padded(server: Server):
    def of(name: str, padded: str) -> float:
        return metric(server, name, model="encoder", padded=padded)

    ids = {"name": "ids", "shape": [1, 20], "datatype": "INT64", "data": words(20)[0].tolist()}
    names = ("tercet_padded_real_elements_total", "tercet_padding_elements_total")
    server.client.post("/v2/models/encoder/infer", json={"inputs": [ids]})
    before = [of(name, "length") for name in names]
    server.client.post("/v2/models/encoder/infer", json={"inputs": [ids]})
    assert [of(name, "length") for name in names] == [before[0] + 20, before[1] + 12]
    assert of(names[0], "rows") > 0


async def test_what_cannot_be_padded_is_refused_in_a_sentence(infer: Infer):
    with pytest.raises(InferenceServerException) as caught:
        await infer("encoder", ids=words(65))
    assert caught.value.status() in ("400", "StatusCode.INVALID_ARGUMENT")
    assert caught.value.message() == (
        "input 'ids' for model 'encoder' has length 65, but the longest that it takes is 64, "
        "the last of its tercet.pad_buckets"
    )


def test_a_version_whose_model_has_no_such_mask_does_not_serve_and_the_index_says_why(server: Server):
    def reason(model: str) -> str:
        lines = server.client.post("/v2/repository/index").json()
        return next((line.get("reason", "") for line in lines if line["name"] == model), "")

    server.until(lambda: reason("unmasked") and reason("misspelt"))
    assert "tercet.pad_mask_input names the input 'attention', but the model has 'ids', 'mask'" in reason(
        "unmasked"
    )
    assert "misspelt/config.pbtxt:3:1: parameters: has 'tercet.pad_bucket', which is none" in reason(
        "misspelt"
    )


# Splitting.


async def test_more_rows_than_a_run_may_have_are_answered_as_one_request(
    infer: Infer, server: Server, alone: Callable[[np.ndarray], dict[str, np.ndarray]]
):
    before = counts(server, "encoder")
    ids = words(30, rows=21)
    answer = await infer("encoder", ids=ids)
    assert (counts(server, "encoder") - before).tolist() == [1, 21, 3]
    for name, expected in alone(ids).items():
        np.testing.assert_allclose(answer.as_numpy(name), expected, rtol=1e-5, atol=1e-5)


async def test_too_many_rows_are_refused_with_what_is_allowed(infer: Infer):
    with pytest.raises(InferenceServerException) as caught:
        await infer("encoder", ids=words(5, rows=513))
    assert caught.value.message() == (
        "inference request batch-size must be <= 512 for 'encoder', got 513; "
        "it is split into at most 64 runs of 8"
    )
    with pytest.raises(InferenceServerException) as caught:
        await infer("double", x=np.ones((9, 1), np.float32))
    assert caught.value.message() == "inference request batch-size must be <= 8 for 'double', got 9"


def left(server: Server, reason: str) -> float:
    return metric(server, "nv_inference_request_failure", model="slow", reason=reason)


def three_rows(**parameters: int) -> dict[str, Any]:
    """A request to `slow` whose three rows run one after the other, a quarter of a second each."""
    asked = question(**parameters)
    asked["inputs"][0] |= {"shape": [3, 1], "data": [LONG] * 3}
    return asked


async def test_a_client_that_leaves_takes_the_pieces_of_its_request_along(server: Server):
    before, left_before = executions(server), left(server, "CANCELED")
    body = json.dumps(three_rows()).encode()
    _, writer = await asyncio.open_connection(*server.http.split(":"))
    head = f"POST /v2/models/slow/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await until(lambda: waiting(server) == 2)
    writer.close()
    await until(lambda: left(server, "CANCELED") == left_before + 1)
    assert waiting(server) == 0
    assert server.client.post("/v2/models/slow/infer", json=question()).status_code == 200
    assert executions(server) - before == 2, "the piece that was running, and the request that came behind"


async def test_a_grpc_client_that_cancels_takes_the_pieces_of_its_request_along(server: Server):
    before, left_before = executions(server), left(server, "CANCELED")
    told: Future[Any] = Future()
    rounds = tensors(triton_grpc, {"rounds": np.full((3, 1), LONG)})
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        call = client.async_infer("slow", rounds, lambda result, error: told.set_result(error))
        await until(lambda: waiting(server) == 2)
        call.cancel()
        await until(lambda: left(server, "CANCELED") == left_before + 1)
    assert told.result(5).status() == "StatusCode.CANCELLED"
    assert waiting(server) == 0
    assert server.client.post("/v2/models/slow/infer", json=question()).status_code == 200
    assert executions(server) - before == 2


def test_the_deadline_of_a_split_request_is_that_of_all_its_pieces(server: Server):
    before, left_before = executions(server), left(server, "REJECTED")
    answer = server.client.post("/v2/models/slow/infer", json=three_rows(timeout=100_000))
    assert (answer.status_code, answer.json()["error"]) == (504, "Request timeout expired for model 'slow'")
    assert (waiting(server), left(server, "REJECTED")) == (0, left_before + 1)
    assert server.client.post("/v2/models/slow/infer", json=question()).status_code == 200
    assert executions(server) - before == 2
