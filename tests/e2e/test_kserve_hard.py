"""kserve's clients where it is not plain: see `kserve_hard_calls.py` for what they do."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.scrape import metric
from tests.e2e.workshop import ONE_BY_ONE, put, slow
from tests.server_process import ROOT, Server, running

Came = dict[str, dict[str, Any]]
"""Protocol -> call -> what came of it."""


def asked(*whom: str) -> Any:
    command = [sys.executable, "-m", "tests.e2e.kserve_hard_calls", *whom]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def came_of(workshop: Server) -> Came:
    came: Came = asked("alone", workshop.http, workshop.grpc)
    return came


@pytest.fixture(scope="module")
def like_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("repository")
    put(folder, "slow", slow(), ONE_BY_ONE)
    log = tmp_path_factory.mktemp("log") / "log"
    with running(log, folder, options=["--overload-status=triton"]) as server:
        yield server


def test_a_caller_may_lose_its_patience(came_of: Came):
    assert came_of["rest"]["too long"] == "ReadTimeout"
    assert came_of["grpc"]["too long"][0] == "DEADLINE_EXCEEDED"
    for calls in came_of.values():
        assert calls["in time"]["outputs"] == {"y": [[1.0]]}


def test_parameters_reach_the_models_own_code(came_of: Came):
    sent = {"unit": "cm", "depth": 3, "lit": True, "sequence_id": 5, "sequence_start": True}
    for calls in came_of.values():
        ((before,),) = calls["parameters"]["outputs"]["before"]
        request_id, parameters, _ = json.loads(before)
        assert (request_id, parameters) == ("7", sent)


def test_an_odd_name_is_understood(came_of: Came):
    for calls in came_of.values():
        assert calls["odd name is ready"] is True
        assert calls["odd name"]["outputs"] == {"y": [[2.0]]}
        assert calls["odd name"]["model"] == "größe: 2.5 kg & more"


def crowded(server: Server) -> tuple[int, int, set[str]]:
    """Of eight calls at once, those that were refused; what the server refused in all; and the codes."""
    before = metric(server, "nv_inference_request_failure", model="slow", reason="REJECTED")
    refusals = [came for came in asked("crowd", server.grpc) if isinstance(came, list)]
    after = metric(server, "nv_inference_request_failure", model="slow", reason="REJECTED")
    return len(refusals), int(after - before), {code for code, _ in refusals}


def test_the_grpc_client_does_not_try_again_where_the_queue_is_full(workshop: Server):
    refused, attempts, codes = crowded(workshop)
    assert codes == {"RESOURCE_EXHAUSTED"}
    assert attempts == refused >= 1


def test_by_tritons_own_code_it_does(like_triton: Server):
    refused, attempts, codes = crowded(like_triton)
    assert codes <= {"UNAVAILABLE"}
    assert attempts > refused
