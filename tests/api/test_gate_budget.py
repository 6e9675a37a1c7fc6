"""What it costs to be known at the door, counted in function calls."""

import json
from hashlib import sha256
from pathlib import Path

import httpx
import tritonclient.grpc

from tests.api.test_call_budget import (
    CALLS_PER_REQUEST,
    VALUES,
    counted,
    http_client,
    repository,  # noqa: F401  (the model that is asked)
    server_in_this_process,
    wait_until_served,
)

MORE_CALLS = {"http": 12, "grpc": 24}
"""Beyond the budget of a request that nobody asks for a key."""

KEY = b"the-key"


def test_a_request_with_a_key_that_is_known_costs_a_few_calls_more(repository: Path, tmp_path: Path):  # noqa: F811
    keys = tmp_path / "keys.json"
    entry = {"name": "asker", "sha256": sha256(KEY).hexdigest(), "rights": ["inference"]}
    keys.write_text(json.dumps([{**entry, "requests_per_second": 1e6}]))
    tensor = {"name": "X", "shape": [1, 4], "datatype": "FP32", "data": VALUES.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    more = {"api_keys": str(keys), "anonymous_rights": "inference"}
    with server_in_this_process(repository, more) as (loop, ports):
        wait_until_served(ports[0])
        headers = {"authorization": f"Bearer {KEY.decode()}"}
        first = httpx.post(
            f"http://127.0.0.1:{ports[0]}/v2/models/double/infer", content=body, headers=headers
        )
        assert first.status_code == 200  # the long way, for who is not known yet
        found = {
            "http": counted(loop, http_client(ports[0], b"Authorization: Bearer %b\r\n" % KEY, body)),
            "grpc": counted(loop, grpc(ports[1])),
        }
    print(found)
    assert CALLS_PER_REQUEST["json"] - 10 < found["http"] <= CALLS_PER_REQUEST["json"] + MORE_CALLS["http"]
    assert found["grpc"] <= CALLS_PER_REQUEST["grpc"] + MORE_CALLS["grpc"]


def grpc(port: int):
    client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}")
    tensor = tritonclient.grpc.InferInput("X", [1, 4], "FP32")
    tensor.set_data_from_numpy(VALUES)
    headers = {"authorization": f"Bearer {KEY.decode()}"}
    return lambda: client.infer("double", [tensor], headers=headers)
