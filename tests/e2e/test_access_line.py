"""Every request leaves one line in the log that says what became of it."""

import asyncio
import json
import queue
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.e2e.triton import tensors
from tests.server_process import Server

OK, INVALID_ARGUMENT, NOT_FOUND, INTERNAL = 0, 3, 5, 13
X = np.ones((2, 3), np.float32)


def lines(server: Server) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in server.log.splitlines()
        if line.startswith('{"event":"request"') and line.endswith("}")
    ]


def line_of(server: Server, request_id: str) -> dict[str, Any]:
    """The one line of that request; the log is written a little later than the answer."""
    server.until(lambda: any(line["request_id"] == request_id for line in lines(server)), within_s=5)
    (line,) = [line for line in lines(server) if line["request_id"] == request_id]
    return line


def post(
    server: Server,
    request_id: str,
    model: str = "double",
    shape: tuple[int, int] = (2, 3),
    data: Sequence[float] = (1.0,) * 6,
) -> None:
    tensor = {"name": "x", "shape": shape, "datatype": "FP32", "data": data}
    server.client.post(f"/v2/models/{model}/infer", json={"id": request_id, "inputs": [tensor]})


def call(server: Server, request_id: str, model: str = "double", x: np.ndarray = X) -> None:
    with triton.InferenceServerClient(server.grpc) as client:
        client.infer(model, tensors(triton, {"x": x}), request_id=request_id)


def stream(server: Server, request_id: str) -> None:
    ended: queue.Queue[Any] = queue.Queue()
    with triton.InferenceServerClient(server.grpc) as client:
        client.start_stream(lambda result, error: ended.put(error))
        client.async_stream_infer("double", tensors(triton, {"x": X}), request_id=request_id)
        assert ended.get(timeout=10) is None


@pytest.mark.parametrize(
    ("door", "ask", "good"), [("http", post, 200), ("grpc", call, OK), ("grpc", stream, OK)]
)
def test_an_answered_request_has_a_line_with_everything_an_operator_asks_for(
    each_workshop: Server, door: str, ask: Any, good: int
):
    ask(each_workshop, f"good-by-{ask.__name__}")
    line = line_of(each_workshop, f"good-by-{ask.__name__}")
    assert (line["event"], line["door"], line["status"]) == ("request", door, good)
    assert (line["model"], line["version"]) == ("double", "1")  # found, though the request named none
    assert line["rows"] == 2
    assert line["batch_rows"] >= 2
    assert line["queue_us"] >= 0
    assert line["compute_us"] > 0
    assert line["total_us"] >= line["queue_us"] + line["compute_us"]
    assert "127.0.0.1" in line["peer"]
    assert datetime.fromisoformat(line["at"]).tzinfo is not None


@pytest.mark.parametrize(
    ("request_id", "model", "x", "status", "version"),
    [
        ("unknown", "nobody", X, NOT_FOUND, ""),
        ("too-many-rows", "double", np.ones((40, 1), np.float32), INVALID_ARGUMENT, "1"),
        ("failed", "picky", np.full((2, 1), 5, np.float32), INTERNAL, "1"),
    ],
)
def test_a_call_that_is_refused_has_a_line_with_its_status(
    each_workshop: Server, request_id: str, model: str, x: np.ndarray, status: int, version: str
):
    with pytest.raises(InferenceServerException):
        call(each_workshop, request_id, model, x)
    line = line_of(each_workshop, request_id)
    assert (line["model"], line["version"], line["status"]) == (model, version, status)
    assert line["batch_rows"] == 0


@pytest.mark.parametrize(
    ("model", "x", "status", "version"),
    [("nobody", [1.0], 404, ""), ("double", [1.0] * 40, 400, "1"), ("picky", [5.0, 5.0], 500, "1")],
)
def test_a_post_that_is_refused_has_a_line_with_its_status(
    workshop: Server, model: str, x: list[float], status: int, version: str
):
    before = len(lines(workshop))
    post(workshop, "", model, (len(x), 1), x)
    workshop.until(lambda: len(lines(workshop)) > before, within_s=5)
    line = lines(workshop)[-1]
    assert (line["model"], line["version"], line["status"]) == (model, version, status)
    assert line["batch_rows"] == 0


async def test_the_line_says_in_how_large_a_batch_a_request_went(workshop: Server):
    def body(number: int) -> dict[str, Any]:
        tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
        return {"id": f"crowd-{number}", "inputs": [tensor]}

    async with httpx.AsyncClient(base_url=f"http://{workshop.http}") as client:
        await asyncio.gather(
            *(client.post("/v2/models/patient/infer", json=body(number)) for number in range(16))
        )
    crowd = [line_of(workshop, f"crowd-{number}") for number in range(16)]
    assert {line["rows"] for line in crowd} == {1}
    assert max(line["batch_rows"] for line in crowd) > 1
    assert max(line["queue_us"] for line in crowd) > 1000  # it waited for the others


def test_a_plain_question_has_a_line_too(workshop: Server):
    before = len(lines(workshop))
    workshop.client.post("/v2/models/double/versions/1/predict", json=[{"x": [1, 2]}] * 3)
    workshop.until(lambda: len(lines(workshop)) > before, within_s=5)
    line = lines(workshop)[-1]
    assert (line["model"], line["version"], line["rows"], line["status"]) == ("double", "1", 3, 200)
