"""A full queue says so at once, and when to come back."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.e2e.line import busy, executions, question, until, waiting
from tests.e2e.scrape import metric
from tests.e2e.workshop import ONE_BY_ONE, put, slow
from tests.server_process import Server, running

SENTENCE = "Exceeds maximum queue size: model 'slow' already has 2 requests waiting"


def rejected(server: Server) -> float:
    return metric(server, "nv_inference_request_failure", model="slow", reason="REJECTED")


@pytest.fixture(scope="module")
def like_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("repository")
    put(folder, "slow", slow(), ONE_BY_ONE)
    log = tmp_path_factory.mktemp("log") / "log"
    options = ["--overload-status=triton", "--grpc-front=grpcio"]
    with running(log, folder, options=options) as server:
        yield server


async def one_too_many(server: Server) -> tuple[int, str, str | None, str, str]:
    """HTTP status, sentence and Retry-After, gRPC status and sentence, of those who find the line full."""
    tensor = triton.InferInput("rounds", [1, 1], "INT64")
    tensor.set_data_from_numpy(np.ones((1, 1), np.int64))
    async with busy(server) as client, triton_aio.InferenceServerClient(server.grpc) as grpc_client:
        last = asyncio.create_task(client.post("/v2/models/slow/infer", json=question()))
        await until(lambda: waiting(server) == 2)
        answer = await client.post("/v2/models/slow/infer", json=question())
        with pytest.raises(InferenceServerException) as refusal:
            await grpc_client.infer("slow", [tensor])
        assert (await last).status_code == 200
    return (
        answer.status_code,
        answer.json()["error"],
        answer.headers.get("retry-after"),
        refusal.value.status(),
        refusal.value.message(),
    )


async def test_a_full_queue_refuses_with_a_hint_when_to_come_back(workshop: Server):
    before, rejected_before = executions(workshop), rejected(workshop)
    status, sentence, retry_after, grpc_status, grpc_sentence = await one_too_many(workshop)
    assert (status, grpc_status) == (429, "StatusCode.RESOURCE_EXHAUSTED")
    assert sentence == grpc_sentence == SENTENCE
    assert retry_after is not None
    assert 1 <= int(retry_after) <= 30
    assert executions(workshop) - before == 3
    assert rejected(workshop) - rejected_before == 2


async def test_tritons_own_codes_may_be_asked_for(like_triton: Server):
    status, sentence, _, grpc_status, grpc_sentence = await one_too_many(like_triton)
    assert (status, grpc_status) == (503, "StatusCode.UNAVAILABLE")
    assert sentence == grpc_sentence == SENTENCE


async def test_with_tritons_codes_a_passed_deadline_is_unavailable_too(like_triton: Server):
    async with busy(like_triton) as client:
        answer = await client.post("/v2/models/slow/infer", json=question(timeout=50_000))
    assert answer.status_code == 503
    assert answer.json() == {"error": "Request timeout expired for model 'slow'"}
