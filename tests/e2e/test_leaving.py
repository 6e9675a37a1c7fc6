"""A client that leaves takes its queued work along."""

import asyncio
import json
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.e2e.line import busy, executions, question, until, waiting
from tests.e2e.scrape import metric
from tests.server_process import Server

WAYS = [
    ("/v2/models/slow/infer", question()),
    ("/v2/models/slow/predict", {"rounds": 1}),
    ("/v2/models/slow/generate", {"rounds": 1}),
    ("/v2/models/slow/generate_stream", {"rounds": 1}),
    ("/v1/models/slow:predict", {"instances": [1]}),
]


def left(server: Server) -> float:
    """How many callers of `slow` have gone away."""
    return metric(server, "nv_inference_request_failure", model="slow", reason="CANCELED")


@pytest.mark.parametrize(("path", "asked"), WAYS)
async def test_an_http_client_that_disconnects_takes_its_queued_work_along(
    workshop: Server, path: str, asked: dict[str, Any]
):
    before, left_before = executions(workshop), left(workshop)
    body = json.dumps(asked).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: tercet\r\nContent-Length: {len(body)}\r\n\r\n"
    async with busy(workshop) as client:
        _, writer = await asyncio.open_connection(*workshop.http.split(":"))
        writer.write(head.encode() + body)
        await until(lambda: waiting(workshop) == 2)
        writer.close()
        await until(lambda: left(workshop) > left_before)
        last = await client.post("/v2/models/slow/infer", json=question())
    assert last.status_code == 200
    assert executions(workshop) - before == 3  # the two that kept it busy, and the one that came behind
    assert left(workshop) - left_before == 1


async def test_a_grpc_client_that_cancels_takes_its_queued_work_along(each_workshop: Server):
    before, left_before = executions(each_workshop), left(each_workshop)
    tensor = triton.InferInput("rounds", [1, 1], "INT64")
    tensor.set_data_from_numpy(np.ones((1, 1), np.int64))
    told: Future[Any] = Future()
    with triton.InferenceServerClient(each_workshop.grpc) as grpc_client:
        async with busy(each_workshop) as client:
            call = grpc_client.async_infer("slow", [tensor], lambda result, error: told.set_result(error))
            await until(lambda: waiting(each_workshop) == 2)
            call.cancel()
            await until(lambda: left(each_workshop) > left_before)
            last = await client.post("/v2/models/slow/infer", json=question())
    assert last.status_code == 200
    assert told.result(5).status() == "StatusCode.CANCELLED"
    assert executions(each_workshop) - before == 3
    assert left(each_workshop) - left_before == 1
