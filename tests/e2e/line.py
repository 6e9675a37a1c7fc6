"""A line of requests before a model that takes its time, and what the server tells of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.e2e.scrape import metric
from tests.server_process import Server

HALF_A_SECOND = 8000
"""Rounds of the model `slow` that keep one processor busy for about that long."""


def question(rounds: int = 1, **parameters: int) -> dict[str, Any]:
    """The body of an infer request to `slow`."""
    tensor = {"name": "rounds", "shape": [1, 1], "datatype": "INT64", "data": [rounds]}
    return {"inputs": [tensor], "parameters": parameters}


def waiting(server: Server) -> int:
    """How many requests `slow` has accepted and not yet begun."""
    return int(metric(server, "nv_inference_pending_request_count", model="slow"))


def executions(server: Server) -> int:
    """How often `slow` has run."""
    (told,) = server.client.get("/v2/models/slow/stats").json()["model_stats"]
    count: int = told["execution_count"]
    return count


async def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "not so in time"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def busy(server: Server, rounds: int = HALF_A_SECOND) -> AsyncIterator[httpx.AsyncClient]:
    """`slow` runs, and one more request like that waits: whoever comes now is second in line.

    Left when both are answered, so that what follows finds the model idle.
    """
    async with httpx.AsyncClient(base_url=f"http://{server.http}", timeout=30) as client:
        long = [
            asyncio.create_task(client.post("/v2/models/slow/infer", json=question(rounds))) for _ in range(2)
        ]
        await until(lambda: waiting(server) == 1)
        try:
            yield client
        finally:
            for each in long:
                assert (await each).status_code == 200
