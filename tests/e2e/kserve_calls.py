"""What kserve's clients do with a running server, in a process of its own: kserve and tritonclient each
bring a protobuf package `inference`, and one process cannot hold both.

Takes the HTTP and the gRPC address; writes what came of each call as JSON.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from tests.e2e.golden import golden

IRIS = golden("iris/1/examples/one_of_each.json")
DIABETES = golden("diabetes/1/examples/two_patients.json")
SEVEN = golden("digits/1/examples/seven.json")

logging.disable(logging.CRITICAL)  # kserve logs every refusal before it raises it


DATATYPES = {"float32": "FP32", "int64": "INT64", "object": "BYTES"}


def request(
    model: str,
    inputs: dict[str, np.ndarray],
    *,
    binary: bool,
    id: str = "",
    outputs: list[str] | None = None,
    **parameters: Any,
) -> InferRequest:
    tensors = []
    for name, array in inputs.items():
        tensor = InferInput(name, list(array.shape), DATATYPES[array.dtype.name])
        tensor.set_data_from_numpy(array, binary_data=binary)
        tensors.append(tensor)
    return InferRequest(
        model,
        tensors,
        request_id=id or None,
        parameters={"binary_data_output": binary, **parameters},
        request_outputs=None if outputs is None else [RequestedOutput(name) for name in outputs],
    )


async def told(call: Awaitable[Any]) -> Any:
    """An answer as plain values, a refusal as its code and sentence."""
    try:
        answer = await call
    except httpx.HTTPStatusError as refusal:
        return [refusal.response.status_code, refusal.response.json()["error"]]
    except httpx.TimeoutException as given_up:
        return type(given_up).__name__
    except grpc.RpcError as refusal:
        return [refusal.code().name, refusal.details()]
    if isinstance(answer, bool | dict):
        return answer
    return {
        "id": answer.id,
        "model": answer.model_name,
        "version": answer.model_version,
        "outputs": {output.name: output.as_numpy().tolist() for output in answer.outputs},
    }


async def over_rest(url: str) -> dict[str, Any]:
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client, InferenceRESTClient() as v1:
        heard: dict[str, str] = {}

        async def infer(
            model: str, inputs: dict[str, np.ndarray], *, binary: bool, id: str = "", **how: Any
        ) -> Any:
            asked = request(model, inputs, binary=binary, id=id, outputs=how.pop("outputs", None))
            return await told(client.infer(url, asked, model_name=model, **how))

        wrong = {"measurements": np.zeros((1, 3), np.float32)}
        whole = f"{url}/v2/models/iris/infer"
        return {
            "live": await told(client.is_server_live(url)),
            "live by v1": await told(v1.is_server_live(url)),
            "ready": await told(client.is_server_ready(url, headers={"x-any": "1"}, timeout=5)),
            "iris is ready": await told(client.is_model_ready(url, "iris")),
            "nobody is ready": await told(client.is_model_ready(url, "nobody")),
            "iris": await infer("iris", IRIS.inputs, binary=True, id="7", response_headers=heard),
            "headers of the answer": heard,
            "iris in JSON": await infer("iris", IRIS.inputs, binary=False),
            "iris with headers": await infer(
                "iris", IRIS.inputs, binary=True, headers={"tercet-timeout-ms": "0"}
            ),
            "one output": await infer("iris", IRIS.inputs, binary=True, outputs=["label"]),
            "a dict": await told(client.infer(url, IRIS.request, model_name="iris")),
            "a graph": await told(client.infer(whole, IRIS.request, is_graph_endpoint=True)),
            "diabetes": await infer("diabetes", DIABETES.inputs, binary=True),
            "diabetes in JSON": await infer("diabetes", DIABETES.inputs, binary=False),
            "digits": await infer("digits", SEVEN.inputs, binary=True),
            "digits_onnx": await infer("digits_onnx", SEVEN.inputs, binary=True),
            "unknown model": await infer("nobody", IRIS.inputs, binary=True),
            "wrong shape": await infer("iris", wrong, binary=True),
        }


async def over_v1(url: str) -> dict[str, Any]:
    rows = IRIS.inputs["measurements"].tolist()
    (file,) = SEVEN.request["inputs"][0]["data"]
    patients = [{name: column[row, 0].item() for name, column in DIABETES.inputs.items()} for row in range(2)]
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:

        async def predict(model: str, document: dict[str, Any]) -> Any:
            return await told(client.infer(url, document, model_name=model))

        return {
            "live": await told(client.is_server_live(url)),
            "iris is ready": await told(client.is_model_ready(url, "iris")),
            "nobody is ready": await told(client.is_model_ready(url, "nobody")),
            "iris": await predict("iris", {"instances": rows}),
            "iris by name": await predict("iris", {"instances": [{"measurements": row} for row in rows]}),
            "iris as inputs": await predict("iris", {"inputs": rows}),
            "diabetes": await predict("diabetes", {"instances": patients}),
            "digits": await predict("digits", {"instances": [file, {"IMAGE": file}]}),
            "unknown model": await predict("nobody", {"instances": rows}),
            "wrong shape": await predict("iris", {"instances": [rows[0], rows[1][:3]]}),
            "explain": await told(client.explain(url, "iris", {"instances": rows})),
        }


async def over_grpc(address: str) -> dict[str, Any]:
    async with InferenceGRPCClient(address) as client:
        wrong = {"measurements": np.zeros((1, 3), np.float32)}
        headers = [("x-any", "1")]
        return {
            "live": await told(client.is_server_live(timeout=5, headers=headers)),
            "ready": await told(client.is_server_ready(timeout=5, headers=headers)),
            "iris is ready": await told(client.is_model_ready("iris", timeout=5, headers=headers)),
            "nobody is ready": await told(client.is_model_ready("nobody")),
            "iris": await told(
                client.infer(request("iris", IRIS.inputs, binary=True, id="7"), timeout=5, headers=headers)
            ),
            "iris in typed fields": await told(client.infer(request("iris", IRIS.inputs, binary=False))),
            "one output": await told(
                client.infer(request("iris", IRIS.inputs, binary=True, outputs=["label"]))
            ),
            "diabetes": await told(client.infer(request("diabetes", DIABETES.inputs, binary=True))),
            "digits": await told(client.infer(request("digits", SEVEN.inputs, binary=True))),
            "digits_onnx": await told(client.infer(request("digits_onnx", SEVEN.inputs, binary=True))),
            "unknown model": await told(client.infer(request("nobody", IRIS.inputs, binary=True))),
            "wrong shape": await told(client.infer(request("iris", wrong, binary=True))),
        }


async def main(http: str, grpc_address: str) -> None:
    url = f"http://{http}"
    came = {"rest": await over_rest(url), "v1": await over_v1(url), "grpc": await over_grpc(grpc_address)}
    print(json.dumps(came))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
