"""What kserve's clients get of `tests.e2e.ensembles`, in a process of its own as `kserve_calls.py`.

Takes the HTTP and the gRPC address; writes protocol -> call -> what came of it as JSON.
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, RESTConfig

from tests.e2e.kserve_calls import request, told

CALLS = {
    "over": {"X": np.array([[1, 2]], np.float32)},
    "spotter": {"TEXT": np.array([[b"cabbage"]], object)},
    "choosy": {"X": np.array([[-1]], np.float32)},
}


async def main(http: str, grpc_address: str) -> None:
    url = f"http://{http}"
    came: dict[str, Any] = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        came["rest"] = {
            model: await told(client.infer(url, request(model, inputs, binary=True), model_name=model))
            for model, inputs in CALLS.items()
        }
        came["rest"]["is ready"] = await told(client.is_model_ready(url, "over"))
    async with InferenceGRPCClient(grpc_address) as client:
        came["grpc"] = {
            model: await told(client.infer(request(model, inputs, binary=True)))
            for model, inputs in CALLS.items()
        }
        came["grpc"]["is ready"] = await told(client.is_model_ready("over"))
    print(json.dumps(came))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
