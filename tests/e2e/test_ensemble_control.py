"""Ensembles that are loaded and unloaded by call: what they are made of comes along, and goes if asked."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from tests.e2e.ensembles import DIAMOND, OVER, plus_both, put_ensemble
from tests.e2e.triton import Ask, asking
from tests.e2e.workshop import put, times
from tests.server_process import Server, running

ALL = {"diamond", "over", "double", "triple", "sum"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    for name, model in (("double", times(2)), ("triple", times(3)), ("sum", plus_both())):
        put(folder, name, model, "max_batch_size: 8")
    put_ensemble(folder, "diamond", DIAMOND)
    put_ensemble(folder, "over", OVER)
    return folder


@pytest.fixture(scope="module")
def explicit(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ["--model-control-mode=explicit", "--load-model=diamond", "--repository-settle-secs=0"]
    with running(tmp_path_factory.mktemp("log") / "log", repository, options=options) as server:
        assert served(server) == {"diamond", "double", "triple", "sum"}, (
            "named at the start, with its members"
        )
        server.client.post("/v2/repository/models/diamond/unload", json=DEPENDENTS)
        yield server


DEPENDENTS = {"parameters": {"unload_dependents": True}}


def served(server: Server) -> set[str]:
    return {model for (model, _), (state, _) in server.index().items() if state == "READY"}


@pytest.fixture(params=[triton_http, triton_grpc], ids=["http", "grpc"])
async def ask(request: pytest.FixtureRequest, explicit: Server) -> AsyncIterator[Ask]:
    """Calls a server that serves nothing, and leaves it so."""
    protocol: ModuleType = request.param
    assert served(explicit) == set()
    async with asking(protocol, explicit.http if protocol is triton_http else explicit.grpc) as ask:
        yield ask
        for model in ALL:
            await ask("unload_model", model)
    explicit.until(lambda: served(explicit) == set())


def answer(server: Server) -> list[float]:
    told: list[float] = server.client.post("/v2/models/over/predict", json={"X": [1, 2]}).json()["Y"]
    return told


async def test_loading_an_ensemble_loads_all_that_it_is_made_of(ask: Ask, explicit: Server):
    await ask("load_model", "over")
    assert served(explicit) == ALL
    assert answer(explicit) == [10, 20]


async def test_unloading_it_leaves_its_members_unless_they_are_to_go_too(ask: Ask, explicit: Server):
    await ask("load_model", "over")
    await ask("unload_model", "over")
    assert served(explicit) == ALL - {"over"}
    await ask("load_model", "over")
    await ask("unload_model", "over", unload_dependents=True)
    assert served(explicit) == set()


async def test_members_that_were_loaded_by_name_or_that_others_need_stay(ask: Ask, explicit: Server):
    await ask("load_model", "sum")
    await ask("load_model", "over")
    await ask("load_model", "diamond")
    await ask("unload_model", "over", unload_dependents=True)
    assert served(explicit) == {"diamond", "double", "triple", "sum"}
    await ask("unload_model", "diamond", unload_dependents=True)
    assert served(explicit) == {"sum"}


async def test_unloading_a_member_takes_its_ensembles_away_until_it_is_back(ask: Ask, explicit: Server):
    await ask("load_model", "over")
    await ask("unload_model", "triple")
    assert served(explicit) == {"double", "sum"}
    lacks = "ensemble '{}' depends on '{}', which has no loaded version"
    explicit.until(lambda: explicit.index()["over", "1"][0] == "UNAVAILABLE")
    assert explicit.index()["over", "1"][1] == lacks.format("over", "diamond")
    assert explicit.index()["diamond", "1"] == ("UNAVAILABLE", lacks.format("diamond", "triple"))
    assert explicit.ready()
    await ask("load_model", "triple")
    explicit.until(lambda: served(explicit) == ALL)
    assert answer(explicit) == [10, 20]


async def test_an_ensemble_may_come_with_a_load_call(ask: Ask, explicit: Server):
    tensor = {"data_type": "TYPE_FP32", "dims": [2]}
    steps = [
        {
            "model_name": "triple",
            "model_version": -1,
            "input_map": {"x": "X"},
            "output_map": {"y": "Y"},
        }
    ]
    config = {
        "platform": "ensemble",
        "max_batch_size": 8,
        "input": [{"name": "X", **tensor}],
        "output": [{"name": "Y", **tensor}],
        "ensemble_scheduling": {"step": steps},
    }
    await ask("load_model", "over", config=json.dumps(config))
    assert served(explicit) == {"over", "triple"}
    assert answer(explicit) == [3, 6]


async def test_a_load_of_an_ensemble_that_lacks_something_says_what(ask: Ask, explicit: Server):
    tensor = {"data_type": "TYPE_FP32", "dims": [2]}
    step = {"model_name": "nowhere", "input_map": {"x": "X"}, "output_map": {"y": "Y"}}
    config = {
        "input": [{"name": "X", **tensor}],
        "output": [{"name": "Y", **tensor}],
        "ensemble_scheduling": {"step": [step]},
    }
    with pytest.raises(InferenceServerException) as refused:
        await ask("load_model", "over", config=json.dumps(config))
    assert "ensemble 'over' depends on 'nowhere', which has no loaded version" in refused.value.message()
    config["ensemble_scheduling"] = {"step": [{**step, "input_map": {"x": "Z"}}]}
    with pytest.raises(InferenceServerException, match="takes 'Z', which is no input of the ensemble"):
        await ask("load_model", "over", config=json.dumps(config))
