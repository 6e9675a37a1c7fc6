"""What kserve's clients do where it is not plain: too long, too many at once, an odd name, parameters.

In a process of its own, as `kserve_calls.py`, with the models of `tests.e2e.workshop`.

    alone HTTP GRPC   protocol -> call -> what came of it
    crowd GRPC        what came of each of eight calls at once to a model that takes them one by one

Writes it as JSON.
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferRequest, RESTConfig

from tests.e2e.kserve_calls import request, told
from tests.e2e.line import HALF_A_SECOND

ODD = "größe: 2.5 kg & more"


def odd() -> InferRequest:
    return request(ODD, {"x": np.ones((1, 1), np.float32)}, binary=True)


def slow(rounds: int) -> InferRequest:
    return request("slow", {"rounds": np.array([[rounds]], np.int64)}, binary=True)


def curious() -> InferRequest:
    sent = {"unit": "cm", "depth": 3, "lit": True, "sequence_id": 5, "sequence_start": True}
    return request("curious", {"x": np.ones((1, 1), np.float32)}, binary=True, id="7", **sent)


async def over_rest(url: str) -> dict[str, Any]:
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=30)) as client:
        return {
            "too long": await told(client.infer(url, slow(HALF_A_SECOND), model_name="slow", timeout=0.05)),
            "in time": await told(client.infer(url, slow(1), model_name="slow", timeout=None)),
            "parameters": await told(client.infer(url, curious(), model_name="curious")),
            "odd name": await told(client.infer(url, odd(), model_name=ODD)),
            "odd name is ready": await told(client.is_model_ready(url, ODD)),
        }


async def over_grpc(address: str) -> dict[str, Any]:
    async with InferenceGRPCClient(address) as client:
        return {
            "too long": await told(client.infer(slow(HALF_A_SECOND), timeout=0.05)),
            "in time": await told(client.infer(slow(1), timeout=None)),
            "parameters": await told(client.infer(curious())),
            "odd name": await told(client.infer(odd())),
            "odd name is ready": await told(client.is_model_ready(ODD)),
        }


async def crowd(address: str) -> list[Any]:
    """What came of each of eight calls at once; one client tries a call again by its own rule."""
    async with InferenceGRPCClient(address) as client:
        return await asyncio.gather(*(told(client.infer(slow(HALF_A_SECOND))) for _ in range(8)))


async def main(whom: str, *addresses: str) -> None:
    if whom == "crowd":
        came: Any = await crowd(*addresses)
    else:
        http, grpc_address = addresses
        came = {"rest": await over_rest(f"http://{http}"), "grpc": await over_grpc(grpc_address)}
    print(json.dumps(came, default=bytes.decode))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
