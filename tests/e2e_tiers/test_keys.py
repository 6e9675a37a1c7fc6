"""Requests of one key meet at one replica of a tier, and move when that is lost."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.e2e.scrape import scrape
from tests.e2e.workshop import put, times
from tests.server_process import Server
from tests.tier_processes import Tiers, in_tiers

KEYS = [f"user-{number}" for number in range(12)]
EACH = 2


@pytest.fixture
def tiers(tmp_path: Path) -> Iterator[Tiers]:
    put(tmp_path / "models", "double", times(2, 1), "max_batch_size: 8")
    forwarded = "--http-header-forward-pattern=^tercet-routing-key$"
    with in_tiers(
        tmp_path, tmp_path / "models", pre=0, predict=3, post=0, gateway_options=[forwarded]
    ) as started:
        yield started


def answered(servers: list[Server]) -> list[int]:
    """By each, so far."""
    return [
        int(
            sum(
                value
                for name, labels, value in scrape(server)
                if name == "nv_inference_request_success" and labels["model"] == "double"
            )
        )
        for server in servers
    ]


def by_header(server: Server, key: str) -> None:
    asked = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}
    answer = server.client.post("/v2/models/double/infer", json=asked, headers={"tercet-routing-key": key})
    assert answer.status_code == 200, answer.text


def by_parameter(server: Server, key: str) -> None:
    asked = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}],
        "parameters": {"tercet-routing-key": key},
    }
    assert server.client.post("/v2/models/double/infer", json=asked).status_code == 200


def by_sequence(protocol, server: Server, number: int) -> None:
    with protocol.InferenceServerClient(server.http if protocol is triton_http else server.grpc) as client:
        tensor = protocol.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
        client.infer("double", [tensor], sequence_id=number, sequence_start=True)


def place_of(servers: list[Server], ask, key: str | int, many: int = EACH) -> int:
    """Where all requests of a key are answered."""
    before = answered(servers)
    for _ in range(many):
        ask(key)
    more = [now - then for then, now in zip(before, answered(servers), strict=True)]
    assert sorted(more) == [0] * (len(servers) - 1) + [many], "they have met at one"
    return more.index(many)


def test_requests_of_one_key_meet_and_move_only_when_their_replica_is_lost(tiers):
    gateway, replicas = tiers.gateway[0], tiers.predict
    places = {key: place_of(replicas, lambda key: by_header(gateway, key), key) for key in KEYS}
    assert len(set(places.values())) > 1, "keys are shared out"
    for key in KEYS[:4]:
        assert place_of(replicas, lambda key: by_parameter(gateway, key), key, 1) == places[key]
    sequences = {
        each: place_of(replicas, lambda n: by_sequence(triton_http, gateway, n), each) for each in range(1, 5)
    }
    for each, place in sequences.items():
        assert place_of(replicas, lambda n: by_sequence(triton_grpc, gateway, n), each, 1) == place

    lost = places[KEYS[0]]
    replicas[lost].terminate(signal.SIGTERM)
    assert replicas[lost].wait() == 0
    left = [replica for replica in replicas if replica is not replicas[lost]]
    for key, place in places.items():
        now = left[place_of(left, lambda key: by_header(gateway, key), key, 1)]
        assert place == lost or now is replicas[place], "only the keys of the lost one have moved"
