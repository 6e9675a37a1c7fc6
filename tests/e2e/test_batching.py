"""Requests of many callers run together, and none can tell."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio

from model_repository.heldout import held_out
from tests.e2e.triton import tensors
from tests.server_process import Server

CLIENTS = 32
REQUESTS_EACH = 20

Infer = Callable[[str, np.ndarray], Awaitable[np.ndarray]]


@pytest.fixture(params=["http", "grpc"])
async def infer(request: pytest.FixtureRequest, each_workshop: Server) -> AsyncIterator[Infer]:
    """Asks a model of the workshop for y."""
    if request.param == "http":
        client: Any = triton_http_aio.InferenceServerClient(each_workshop.http, conn_limit=CLIENTS)
        kinds = triton_http
    else:
        client, kinds = triton_grpc_aio.InferenceServerClient(each_workshop.grpc), triton_grpc

    async def ask(model: str, x: np.ndarray) -> np.ndarray:
        answer = await client.infer(model, tensors(kinds, {"x": x}))
        y: np.ndarray = answer.as_numpy("y")
        return y

    async with client:
        yield ask


def counts(server: Server, model: str, version: str = "1") -> np.ndarray:
    """Rows and runs so far."""
    (told,) = server.client.get(f"/v2/models/{model}/versions/{version}/stats").json()["model_stats"]
    return np.array([told["inference_count"], told["execution_count"]])


@pytest.mark.parametrize(("model", "least_mean"), [("double", 1.0), ("patient", 2.0)])
async def test_32_clients_at_once_are_served_in_batches(
    infer: Infer, each_workshop: Server, model: str, least_mean: float
):
    """`double` never waits for company, so over gRPC it finds little; `patient` waits for 5 ms.

    How many come within these is the machine's: fewer than four where it is at its slowest.
    """

    async def ask_again_and_again(number: int) -> None:
        for turn in range(REQUESTS_EACH):
            x = np.array([[number, turn]], np.float32)
            np.testing.assert_array_equal(await infer(model, x), 2 * x)

    before = counts(each_workshop, model)
    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(ask_again_and_again(number))
    rows, runs = counts(each_workshop, model) - before
    assert rows == CLIENTS * REQUESTS_EACH
    assert rows / runs > least_mean


async def test_requests_of_different_widths_come_at_once_and_each_gets_its_own(
    infer: Infer, each_workshop: Server
):
    # Neighbours are alike, so that some meet in the 5 ms however slowly they come.
    requests = [np.full((1 + number % 3, 1 + number // 2 % 5), number, np.float32) for number in range(30)]
    before = counts(each_workshop, "patient")
    answers = await asyncio.gather(*(infer("patient", x) for x in requests))
    for x, y in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(y, 2 * x)
    rows, runs = counts(each_workshop, "patient") - before
    assert rows == sum(map(len, requests))
    assert 5 <= runs < len(requests)  # one for each width at least, as they cannot share a run


@pytest.mark.parametrize(("model", "version"), [("digits", "2"), ("digits_onnx", "1")])
async def test_images_are_read_the_same_alone_and_in_company(server: Server, model: str, version: str):
    path = f"/v2/models/{model}/versions/{version}/predict"
    files = [digit.png for digit in held_out()[:48]]
    png = {"Content-Type": "image/png"}
    alone = [server.client.post(path, content=file, headers=png).json() for file in files]
    before = counts(server, model, version)
    async with httpx.AsyncClient(base_url=f"http://{server.http}", timeout=30) as client:
        answers = await asyncio.gather(*(client.post(path, content=file, headers=png) for file in files))
    rows, runs = counts(server, model, version) - before
    assert rows == len(files) > runs
    for one, answer in zip(alone, answers, strict=True):
        assert answer.json()["digit"] == one["digit"]
        assert answer.json()["probability"] == pytest.approx(one["probability"], rel=1e-5)
