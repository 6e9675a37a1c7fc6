"""One inference by KServe's clients over each protocol, in a process of its own.

Takes the HTTP and the gRPC address; writes for each protocol whether iris knew a flower of its own examples.
"""

import asyncio
import json
import logging
import sys

from kserve import InferenceGRPCClient, InferenceRESTClient, RESTConfig

from tests.e2e.kserve_calls import IRIS, request

logging.disable(logging.CRITICAL)


async def main(http: str, grpc_address: str) -> None:
    url = f"http://{http}"
    expected = IRIS.outputs["label"].tolist()
    rows = IRIS.inputs["measurements"].tolist()
    async with (
        InferenceRESTClient(RESTConfig(protocol="v2")) as rest,
        InferenceRESTClient(RESTConfig(protocol="v1")) as old,
        InferenceGRPCClient(grpc_address) as grpc,
    ):
        asked = request("iris", IRIS.inputs, binary=True, outputs=["label"])
        v2 = await rest.infer(url, asked, model_name="iris")
        called = await grpc.infer(request("iris", IRIS.inputs, binary=True, outputs=["label"]))
        v1 = await old.infer(url, {"instances": rows}, model_name="iris")
    print(
        json.dumps(
            {
                "v2": v2.outputs[0].as_numpy().tolist() == expected,
                "grpc-v2": called.outputs[0].as_numpy().tolist() == expected,
                "v1": [each["label"] for each in v1["predictions"]] == [label for (label,) in expected],
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
