"""What a caller sends for the model reaches the version's own pre.py and post.py, by every door."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio

from tests.e2e.triton import asking, tensors
from tests.server_process import Server

ROW = {"x": np.ones((1, 1), np.float32)}
SENT = {"unit": "cm", "depth": 3, "lit": True, "angle": 0.5, "seed": -(2**63), "mask": 2**64 - 1}
"""One of each kind, and the ends of the whole numbers."""

Told = tuple[str, dict[str, Any], int]


def told(before: Any, after: Any) -> Told:
    """The id, the parameters and the priority that both functions were told."""
    assert before == after
    request_id, parameters, priority = json.loads(before)
    return request_id, parameters, priority


def over_infer(server: Server, **body: Any) -> Told:
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    answer = server.client.post("/v2/models/curious/infer", json={"inputs": [tensor], **body})
    assert answer.status_code == 200, answer.text
    outputs = {output["name"]: output["data"][0] for output in answer.json()["outputs"]}
    return told(**outputs)


def test_json_parameters_reach_the_code_as_they_were_sent(workshop: Server):
    assert over_infer(workshop, id="7", parameters=SENT) == ("7", SENT, 0)


def test_predict_takes_parameters_beside_its_instances(workshop: Server):
    answer = workshop.client.post("/v2/models/curious/predict", json={"instances": [1], "parameters": SENT})
    assert answer.status_code == 200, answer.text
    assert told(**answer.json()[0])[1] == SENT


@pytest.mark.parametrize("protocol", [triton_http, triton_grpc], ids=["http", "grpc"])
async def test_tritonclients_parameters_reach_the_code(each_workshop: Server, protocol: Any):
    address = each_workshop.http if protocol is triton_http else each_workshop.grpc
    sequence = {"sequence_id": 5, "sequence_start": True, "sequence_end": False}
    sent = {key: value for key, value in SENT.items() if key != "mask"}  # its gRPC client has int64 only
    async with asking(protocol, address) as ask:
        answer = await ask(
            *("infer", "curious", tensors(protocol, ROW)),
            **{"request_id": "7", "parameters": sent, "priority": 2, "timeout": 5_000_000, **sequence},
        )
    before, after = (answer.as_numpy(name).item() for name in ("before", "after"))
    assert told(before, after) == ("7", {**sent, **sequence}, 2)


def test_what_the_server_itself_understands_is_not_passed_on(workshop: Server):
    own = {"timeout": 5_000_000, "binary_data_output": False, "priority": 1}
    assert over_infer(workshop, id="7", parameters=own) == ("7", {}, 1)


def test_a_request_without_an_id_is_known_by_the_one_of_the_servers_log(workshop: Server):
    first, second = over_infer(workshop)[0], over_infer(workshop)[0]
    assert first
    assert second
    assert first != second


async def test_requests_that_run_together_keep_their_own_parameters(workshop: Server):
    async with asking(triton_http_aio, workshop.http) as ask:
        calls = [
            ask("infer", "curious", tensors(triton_http_aio, ROW), parameters={"place": place})
            for place in range(8)
        ]
        for place, answer in enumerate(await asyncio.gather(*calls)):
            before, after = (answer.as_numpy(name).item() for name in ("before", "after"))
            assert told(before, after)[1] == {"place": place}
