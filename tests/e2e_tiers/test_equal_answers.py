"""The same request to the fused server and to a gateway before tiers: the same answer or refusal."""

import json
import re
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from tests.e2e.triton import tensors
from tests.server_process import Server

X = "x", "FP32"
TEXT = "text", "BYTES"


def body(name: str, datatype: str, rows: list[Any], **more: Any) -> dict[str, Any]:
    width = len(rows[0]) if isinstance(rows[0], list) else 1
    shape = [len(rows), width]
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": rows}], **more}


CASES: list[tuple[str, dict[str, Any]]] = [
    ("animals", body(*X, [[1, 2, 3], [4, 5, 6]])),
    ("animals", body(*X, [[3, 1, 2]], outputs=[{"name": "y", "parameters": {"classification": 2}}])),
    ("lengths", body(*TEXT, ["a", "four", "héron"])),
    ("shouting", body(*X, [1, 2.5, -3])),
    ("picky", body(*X, [1, 2, 3], id="mine")),
    ("curious", body(*X, [1, 2], id="9", parameters={"temperature": 0.5, "priority": 2, "who": "me"})),
    ("chain", body("TEXT", "BYTES", ["a", "bcd"])),
    ("picky", body(*X, [-1])),
    ("picky", body(*X, [4])),
    ("picky", body(*X, [1000], id="7")),
    ("picky", body(*X, [5], id="8")),
    ("misfit", body(*X, [1], id="10")),
    ("chain", body("TEXT", "BYTES", ["abcd" * 500])),
    ("picky", body(*X, [[1, 2]])),
    ("picky", body("X", "FP32", [1])),
    ("picky", body("x", "INT64", [1])),
    ("picky", body(*X, list(range(20, 29)))),
    ("picky", body(*X, [1], outputs=[{"name": "z"}])),
    ("shouting", body(*X, [1], outputs=[{"name": "y"}])),
    ("lengths", body("x", "FP32", [1])),
    ("nobody", body(*X, [1])),
]


@pytest.mark.parametrize(("model", "asked"), CASES, ids=[f"{at}-{case[0]}" for at, case in enumerate(CASES)])
def test_a_request_is_answered_or_refused_alike(fused: Server, gateway: Server, model, asked):
    answers = []
    for server in (fused, gateway):
        answer = server.client.post(f"/v2/models/{model}/infer", json=asked)
        answers.append((answer.status_code, answer.json()))
    assert answers[1] == answers[0]


@pytest.mark.parametrize("protocol", [triton_http, triton_grpc], ids=["http", "grpc"])
def test_triton_clients_get_the_same(fused: Server, gateway: Server, protocol):
    answers = []
    for server in (fused, gateway):
        address = server.http if protocol is triton_http else server.grpc
        with protocol.InferenceServerClient(address) as client:
            rows = tensors(protocol, {"x": np.array([[1], [2]], np.float32)})
            words = tensors(protocol, {"text": np.array([["a"], ["héron"]], object)})
            with pytest.raises(InferenceServerException) as refused:
                client.infer("picky", tensors(protocol, {"x": np.array([[-1]], np.float32)}))
            answers.append(
                (
                    client.infer("picky", rows).as_numpy("y").tolist(),
                    client.infer("shouting", rows).as_numpy("word").tolist(),
                    client.infer("lengths", words).as_numpy("y").tolist(),
                    refused.value.status(),
                    refused.value.message(),
                )
            )
    assert answers[1] == answers[0]


ALIKE = [[1, 2, 3], [4, 0, 6], [-1, 2, 3], [7, 8, 9], [1000, 2, 3], [1, 2, 3]]
"""Numbers of one shape; some code refuses some of them, or fails over them."""


def in_json(server: Server, model: str, rows: list[list[float]], *outputs: str) -> list[tuple[int, Any]]:
    """One connection, and each body like the one before but for its numbers."""
    wanted = {"outputs": [{"name": name} for name in outputs]} if outputs else {}
    asked = [body(*X, [row] if model == "animals" else row, **wanted) for row in rows]
    answers = [server.client.post(f"/v2/models/{model}/infer", json=each) for each in asked]
    return [(answer.status_code, answer.json()) for answer in answers]


def without_ids(answers: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """A failure's sentence ends with the name of its line in the log, which no other has."""
    return [(status, re.sub(r"[0-9a-f]{32}", "ID", json.dumps(told))) for status, told in answers]


@pytest.mark.parametrize("outputs", [(), ("y",)], ids=["all", "named"])
@pytest.mark.parametrize("model", ["animals", "curious", "misfit", "picky", "shouting"])
def test_requests_that_are_alike_are_answered_alike_too(fused: Server, gateway: Server, model, outputs):
    expected, found = (without_ids(in_json(each, model, ALIKE, *outputs)) for each in (fused, gateway))
    assert found == expected


@pytest.mark.parametrize("protocol", [triton_http, triton_grpc], ids=["http", "grpc"])
def test_so_are_those_of_triton_clients(fused: Server, gateway: Server, protocol):
    answers: list[list[Any]] = []
    for server in (fused, gateway):
        told: list[Any] = []
        address = server.http if protocol is triton_http else server.grpc
        with protocol.InferenceServerClient(address) as client:
            for model in ("picky", "misfit"):
                for row in ALIKE:
                    try:
                        asked = tensors(protocol, {"x": np.array([[each] for each in row], np.float32)})
                        told.append(client.infer(model, asked).as_numpy("y").tolist())
                    except InferenceServerException as refused:
                        told.append((refused.status(), re.sub(r"[0-9a-f]{32}", "ID", refused.message())))
        answers.append(told)
    assert answers[1] == answers[0]


@pytest.mark.parametrize("model", ["animals", "curious", "lengths", "misfit", "picky", "shouting", "chain"])
def test_a_model_is_described_alike(fused: Server, gateway: Server, model):
    for path in (f"/v2/models/{model}", f"/v2/models/{model}/config"):
        assert gateway.client.get(path).json() == fused.client.get(path).json()
