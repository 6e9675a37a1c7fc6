"""What kserve's clients get of a server that asks who they are, in a process of its own, as kserve and
tritonclient cannot share one.

Takes JSON: the addresses, the headers and the files of certificates; writes what came of each call as JSON.
"""

import asyncio
import json
import logging
import ssl
import sys
from collections.abc import Awaitable
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

logging.disable(logging.CRITICAL)  # kserve logs every refusal before it raises it


def request() -> InferRequest:
    tensor = InferInput("measurements", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.array([[5.1, 3.5, 1.4, 0.2]], np.float32), binary_data=False)
    return InferRequest("iris", [tensor])


async def told(call: Awaitable[Any]) -> Any:
    try:
        answer = await call
    except httpx.HTTPStatusError as refusal:
        return refusal.response.status_code
    except grpc.aio.AioRpcError as refusal:
        return refusal.code().name
    return answer.outputs[0].as_numpy().tolist()


async def main(asked: dict[str, Any]) -> list[Any]:
    ca, files, headers = asked.get("ca"), asked.get("files", {}), asked.get("headers", {})
    secure: dict[str, Any] = {}
    if ca is not None:
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(files["certificate"], files["key"])
        secure["verify"] = context
    rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, **secure))
    over = {
        "use_ssl": True,
        "root_certificates": ca,
        "private_key": files.get("key"),
        "certificate_chain": files.get("certificate"),
    }
    client = InferenceGRPCClient(asked["grpc"], **(over if ca is not None else {}))
    url = f"{'http' if ca is None else 'https'}://{asked['http']}"
    try:
        return [
            await told(rest.infer(url, request(), model_name="iris", headers=dict(headers))),
            await told(client.infer(request(), headers=tuple(headers.items()))),
        ]
    finally:
        await rest.close()
        await client.close()


print(json.dumps([asyncio.run(main(asked)) for asked in json.loads(sys.argv[1])]))
