"""A request has until its deadline: then its caller is told, and what has not begun is never run."""

import time
from collections.abc import Awaitable, Callable

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.e2e.line import busy, executions, question, until, waiting
from tests.e2e.scrape import metric
from tests.server_process import Server

SOON_MS = 100

Refusal = tuple[object, str]


async def by_parameter_over_http(server: Server) -> Refusal:
    async with httpx.AsyncClient(base_url=f"http://{server.http}") as client:
        answer = await client.post("/v2/models/slow/infer", json=question(timeout=SOON_MS * 1000))
    return answer.status_code, answer.json()["error"]


async def by_header_over_http(server: Server) -> Refusal:
    async with httpx.AsyncClient(base_url=f"http://{server.http}") as client:
        answer = await client.post(
            "/v2/models/slow/infer", json=question(), headers={"Tercet-Timeout-Ms": str(SOON_MS)}
        )
    return answer.status_code, answer.json()["error"]


async def by_parameter_over_grpc(server: Server) -> Refusal:
    return await over_grpc(server, timeout=SOON_MS * 1000)


async def by_deadline_over_grpc(server: Server) -> Refusal:
    return await over_grpc(server, client_timeout=SOON_MS / 1000)


async def over_grpc(server: Server, **limit: float) -> Refusal:
    tensor = triton.InferInput("rounds", [1, 1], "INT64")
    tensor.set_data_from_numpy(np.ones((1, 1), np.int64))
    async with triton_aio.InferenceServerClient(server.grpc) as client:
        with pytest.raises(InferenceServerException) as refusal:
            await client.infer("slow", [tensor], **limit)
    return refusal.value.status(), refusal.value.message()


def failed(server: Server) -> float:
    """How many requests to `slow` have failed; a client's own deadline may look like its leaving."""
    return sum(
        metric(server, "nv_inference_request_failure", model="slow", reason=reason)
        for reason in ("REJECTED", "CANCELED")
    )


async def refused_in_line(server: Server, ask: Callable[[Server], Awaitable[Refusal]]) -> Refusal:
    """How a request is refused whose time is over while it waits, once it is sure that it was never run."""
    before, failed_before = executions(server), failed(server)
    async with busy(server) as client:
        asked = time.monotonic()
        refusal = await ask(server)
        waited_ms = (time.monotonic() - asked) * 1000
        await until(lambda: waiting(server) < 2)  # a client's own deadline reaches the server a little later
        last = await client.post("/v2/models/slow/infer", json=question())
    assert last.status_code == 200
    assert waited_ms >= SOON_MS - 1
    assert executions(server) - before == 3  # the two that kept it busy, and the last, which came behind
    assert failed(server) - failed_before == 1
    return refusal


@pytest.mark.parametrize("ask", [by_parameter_over_http, by_header_over_http])
async def test_a_request_whose_time_is_over_is_told_so_and_never_run(
    workshop: Server, ask: Callable[[Server], Awaitable[Refusal]]
):
    assert await refused_in_line(workshop, ask) == (504, "Request timeout expired for model 'slow'")


@pytest.mark.parametrize("ask", [by_parameter_over_grpc, by_deadline_over_grpc])
async def test_a_call_whose_time_is_over_is_told_so_and_never_run(
    each_workshop: Server, ask: Callable[[Server], Awaitable[Refusal]]
):
    status, said = await refused_in_line(each_workshop, ask)
    assert status == str(grpc.StatusCode.DEADLINE_EXCEEDED)
    if ask is by_parameter_over_grpc:  # else the client ends the call itself, in its own words
        assert said == "Request timeout expired for model 'slow'"


async def test_a_request_with_time_enough_is_answered(workshop: Server):
    answer = workshop.client.post("/v2/models/slow/infer", json=question(timeout=20_000_000))
    assert answer.json()["outputs"][0]["data"] == [1]


async def test_the_caller_hears_in_mid_run_that_the_time_is_over(workshop: Server):
    """The run itself cannot be stopped, so it is counted."""
    before = executions(workshop)
    asked = time.monotonic()
    answer = workshop.client.post(
        "/v2/models/slow/infer", json=question(8000), headers={"Tercet-Timeout-Ms": str(SOON_MS)}
    )
    waited_ms = (time.monotonic() - asked) * 1000
    assert answer.status_code == 504
    workshop.until(lambda: executions(workshop) == before + 1, within_s=10)
    ended_ms = (time.monotonic() - asked) * 1000
    assert waited_ms < ended_ms


@pytest.mark.parametrize("text", ["soon", "0", "-1", "1.5", "99999999999"])
def test_a_deadline_that_is_no_number_of_milliseconds_is_refused(workshop: Server, text: str):
    answer = workshop.client.post(
        "/v2/models/slow/infer", json=question(), headers={"Tercet-Timeout-Ms": text}
    )
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "the header tercet-timeout-ms must be a whole number of milliseconds above 0"
    }
