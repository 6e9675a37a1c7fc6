"""Load and unload of one version by call, over HTTP and gRPC, beside the others."""

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest

from protos import inference_pb2 as pb
from tests.e2e_lifecycle.asking import answer, asked, loads
from tests.e2e_lifecycle.held import SETUP, Gate
from tests.e2e_lifecycle.ledger import entry, ledger
from tests.e2e_lifecycle.repository import Repository
from tests.e2e_lifecycle.traffic import traffic
from tests.lifecycle.shelf import plus
from tests.server_process import Server, running

EXPLICIT = ("--model-control-mode=explicit", "--repository-settle-secs=0", "--log-format=json")
QUIET = (*EXPLICIT, "--access-log=false")

Order = Callable[..., str]
"""Loads or unloads a version of a model; what was said against it."""


def over_http(server: Server, what: str, model: str, **parameters: object) -> str:
    body = {"parameters": parameters} if parameters else {}
    told = httpx.post(f"http://{server.http}/v2/repository/models/{model}/{what}", json=body, timeout=30)
    return "" if told.status_code == 200 else str(told.json()["error"])


def over_grpc(server: Server, what: str, model: str, **parameters: object) -> str:
    message = pb.RepositoryModelLoadRequest(model_name=model)  # an unload has the same layout
    for name, value in parameters.items():
        if isinstance(value, int):
            message.parameters[name].int64_param = value
        else:
            message.parameters[name].string_param = str(value)
    method = f"/inference.GRPCInferenceService/RepositoryModel{what.capitalize()}"
    with grpc.insecure_channel(server.grpc) as channel:
        try:
            channel.unary_unary(method)(message.SerializeToString(), timeout=30)
        except grpc.RpcError as refusal:
            return refusal.details() or ""
    return ""


@pytest.fixture(params=[over_http, over_grpc], ids=["http", "grpc"])
def order(request: pytest.FixtureRequest) -> Order:
    chosen: Order = request.param
    return chosen


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path)
    for version in (1, 2, 3):
        repository.write("plus", version)
    return repository


@pytest.fixture
def server(repository: Repository, tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "log", repository.path, options=QUIET) as server:
        yield server


def served(server: Server, model: str = "plus") -> list[str]:
    """As metadata has it; empty where the model has no version."""
    told = server.client.get(f"/v2/models/{model}")
    return list(told.json()["versions"]) if told.status_code == 200 else []


def test_a_version_is_loaded_beside_those_that_serve_whatever_the_policy_says(order: Order, server: Server):
    assert order(server, "load", "plus") == ""
    assert served(server) == ["3"], "the policy is: the latest"
    assert order(server, "load", "plus", version=1) == ""
    assert served(server) == ["1", "3"]
    assert [answer(server, "plus", version) for version in ("1", "2", "3", "")] == [1, None, 3, 3]
    assert order(server, "load", "plus", version="2") == ""
    assert served(server) == ["1", "2", "3"]
    server.until(lambda: loads(server, "plus") == 3)
    assert {server.index()["plus", version] for version in ("1", "2", "3")} == {("READY", "")}


def test_a_version_may_be_the_first_that_is_loaded(order: Order, server: Server):
    assert order(server, "load", "plus", version=2) == ""
    assert served(server) == ["2"]
    assert answer(server, "plus") == 2
    assert ("plus", "3") not in server.index()


def test_one_version_is_unloaded_and_the_others_stay(order: Order, server: Server):
    for version in (1, 3):
        order(server, "load", "plus", version=version)
    assert order(server, "unload", "plus", version=3) == ""
    assert (served(server), answer(server, "plus")) == (["1"], 1)
    server.until(lambda: server.index()["plus", "3"] == ("UNAVAILABLE", "unloaded"))
    assert server.index()["plus", "1"] == ("READY", "")
    refused = asked(server, "plus", "3")
    said = "Request for unknown model: 'plus' version 3 has been unloaded"
    assert (refused.status_code, refused.json()["error"]) == (404, said)
    assert server.ready()

    assert order(server, "unload", "plus", version=1) == ""
    assert asked(server, "plus").json()["error"].endswith("'plus' has no available versions")


def test_of_the_versions_that_the_policy_chose_one_can_be_unloaded(order: Order, tmp_path: Path):
    repository = Repository(tmp_path)
    for version in (1, 2):
        repository.write("plus", version, config="version_policy { all {} }")
    with running(tmp_path / "log", repository.path, options=[*QUIET, "--load-model=*"]) as server:
        assert order(server, "unload", "plus", version=2) == ""
        assert served(server) == ["1"]


def test_a_call_for_the_whole_model_returns_to_the_policy(order: Order, server: Server):
    for version in (1, 2):
        order(server, "load", "plus", version=version)
    assert order(server, "load", "plus") == ""
    assert served(server) == ["3"]
    server.until(lambda: server.index()["plus", "1"] == ("UNAVAILABLE", "unloaded"))

    order(server, "load", "plus", version=1)
    assert order(server, "unload", "plus") == ""
    assert served(server) == []
    order(server, "load", "plus", version=2)
    assert served(server) == ["2"], "what was named before is forgotten"


def test_a_version_that_is_loaded_alone_leaves_the_others_as_they_are(
    order: Order, server: Server, repository: Repository
):
    order(server, "load", "plus", version=1)
    repository.replace_file("plus", 1, plus(100))
    assert order(server, "load", "plus", version=2) == ""
    assert (answer(server, "plus", "1"), answer(server, "plus", "2")) == (1, 2)
    assert order(server, "load", "plus", version=1) == ""
    assert (answer(server, "plus", "1"), answer(server, "plus", "2")) == (100, 2)


def test_what_cannot_be_loaded_harms_no_other_version(order: Order, server: Server, repository: Repository):
    order(server, "load", "plus", version=1)
    repository.write("plus", 4, b"this is no model")
    assert "load failed for model 'plus': version 4" in order(server, "load", "plus", version=4)
    assert order(server, "load", "plus", version=2) == ""
    assert "it has no version 7; there are 1, 2, 3, 4" in order(server, "load", "plus", version=7)
    assert served(server) == ["1", "2"]
    assert server.index()["plus", "4"][0] == "UNAVAILABLE"
    assert order(server, "unload", "plus", version=4) == ""
    assert server.index()["plus", "4"] == ("UNAVAILABLE", "unloaded")
    assert order(server, "unload", "plus", version=7) == "", "there is nothing to do"
    assert served(server) == ["1", "2"]


def test_of_a_model_that_came_with_a_call_a_version_can_be_loaded_too(server: Server):
    files = {f"file:{number}/model.onnx": plus(number) for number in (4, 9)}
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    assert over_http(server, "load", "guest", config='{"max_batch_size": 8}', **encoded) == ""
    assert served(server, "guest") == ["9"]
    assert over_http(server, "load", "guest", version=4) == ""
    assert served(server, "guest") == ["4", "9"]
    assert server.client.get("/v2/models/guest/versions/4/config").json()["max_batch_size"] == 8
    assert over_http(server, "unload", "guest", version=9) == ""
    assert answer(server, "guest") == 4


def test_versions_come_and_go_under_traffic_and_no_request_is_lost(tmp_path: Path):
    repository = Repository(tmp_path)
    for version in (1, 2):
        repository.write("ledger", version, ledger(version))
    options = [*QUIET, "--load-model=ledger"]
    with running(tmp_path / "log", repository.path, options=options) as server:

        def right(version: str, at: int, told: float) -> bool:
            return told == entry(int(version), at)

        with traffic(server, "ledger", lambda: right) as load:
            for _ in range(5):
                assert over_http(server, "load", "ledger", version=1) == ""
                assert over_grpc(server, "unload", "ledger", version=2) == ""
                assert served(server, "ledger") == ["1"]
                assert over_grpc(server, "load", "ledger", version=2) == ""
                assert over_http(server, "unload", "ledger", version=1) == ""
                assert served(server, "ledger") == ["2"]
                so_far = len(load.outcomes)
                server.until(lambda so_far=so_far: len(load.outcomes) > so_far + 40)
        assert load.faults == []
        assert {door for door, *_ in load.outcomes} == {"http", "grpc"}


# Loads that come at the same time.


def test_calls_for_one_model_at_once_load_it_once(repository: Repository, tmp_path: Path):
    gate = Gate(tmp_path)
    (repository.write("held", 1) / "pre.py").write_text(gate.pre(SETUP))
    with running(tmp_path / "log", repository.path, options=QUIET) as server, ThreadPoolExecutor() as callers:
        told = [callers.submit(each, server, "load", "held") for each in (over_http, over_grpc) * 3]
        told.append(callers.submit(over_http, server, "load", "held", version=1))
        server.until(lambda: gate.begun == 1)
        assert over_http(server, "load", "plus") == "", "another model does not wait for it"
        gate.open()
        assert [each.result() for each in told] == [""] * 7
        assert (gate.begun, answer(server, "held")) == (1, 1)


def test_calls_that_bring_the_same_files_at_once_load_them_once(repository: Repository, tmp_path: Path):
    gate = Gate(tmp_path)
    code = gate.pre(SETUP).encode()
    files = {"file:1/model.onnx": plus(5), "file:1/pre.py": code}
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    before = sorted(repository.path.rglob("*"))
    with running(tmp_path / "log", repository.path, options=QUIET) as server, ThreadPoolExecutor() as callers:
        told = [callers.submit(over_http, server, "load", "guest", config="{}", **encoded) for _ in range(3)]
        server.until(lambda: gate.begun == 1)
        gate.open()
        assert [each.result() for each in told] == [""] * 3
        assert (gate.begun, answer(server, "guest")) == (1, 5)
        assert sorted(repository.path.rglob("*")) == before
        index = json.dumps(server.client.post("/v2/repository/index").json())
        assert "tercet-" not in index


def test_files_that_calls_bring_stay_as_long_as_they_are_served_and_no_longer(tmp_path: Path):
    private = tmp_path / "private"
    private.mkdir()
    (tmp_path / "models").mkdir()

    def bring(content: bytes) -> str:
        file = base64.b64encode(content).decode()
        return over_http(server, "load", "guest", config="{}", **{"file:1/model.onnx": file})

    def kept() -> list[str]:
        return sorted(path.read_bytes().hex() for path in private.rglob("model.onnx"))

    environment = {"TMPDIR": str(private)}
    with running(tmp_path / "log", tmp_path / "models", options=QUIET, environment=environment) as server:
        assert bring(plus(1)) == ""
        for wrong in (b"no model", b"no model either"):
            assert "load failed for model 'guest'" in bring(wrong)
        assert kept() == sorted([plus(1).hex(), b"no model either".hex()])
        assert answer(server, "guest") == 1
        assert bring(plus(2)) == ""
        assert (kept(), answer(server, "guest")) == ([plus(2).hex()], 2)
        assert over_http(server, "unload", "guest") == ""
        assert kept() == []
        assert bring(plus(3)) == ""
    assert list(private.glob("tercet-*")) == []
