"""Load and unload by call, over both protocols, through tritonclient."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from tests.e2e.triton import Ask, asking, tensors
from tests.e2e.workshop import put, times
from tests.server_process import Server, running

CODES = {
    triton_http: {"invalid": "400", "not found": "404", "internal": "500", "unavailable": "503"},
    triton_grpc: {
        "invalid": "StatusCode.INVALID_ARGUMENT",
        "not found": "StatusCode.NOT_FOUND",
        "internal": "StatusCode.INTERNAL",
        "unavailable": "StatusCode.UNAVAILABLE",
    },
}
CONFIG = json.dumps({"backend": "onnxruntime", "max_batch_size": 16})


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models whose y is x times a factor, and some that cannot be served."""
    folder = tmp_path_factory.mktemp("repository")
    put(folder, "double", times(2))
    put(folder, "triple", times(3))
    put(folder, "broken", b"this is no model")
    put(folder, "misspelt", times(2), "max_batchsize: 8")
    return folder


@pytest.fixture(scope="module")
def explicit(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ["--model-control-mode=explicit", "--load-model=triple", "--repository-settle-secs=0"]
    with running(tmp_path_factory.mktemp("explicit") / "log", repository, options=options) as server:
        yield server


@pytest.fixture(params=[triton_http, triton_grpc], ids=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param
    return module


@pytest.fixture
async def ask(protocol: ModuleType, explicit: Server) -> AsyncIterator[Ask]:
    """Calls the server in mode explicit, and leaves it with `triple` alone."""
    async with asking(protocol, explicit.http if protocol is triton_http else explicit.grpc) as ask:
        yield ask
        for model in ("double", "guest", "broken"):
            await ask("unload_model", model)


@pytest.fixture
async def ask_polling(protocol: ModuleType, workshop: Server) -> AsyncIterator[Ask]:
    async with asking(protocol, workshop.http if protocol is triton_http else workshop.grpc) as ask:
        yield ask


async def factor(ask: Ask, protocol: ModuleType, model: str) -> float:
    answer = await ask("infer", model, tensors(protocol, {"x": np.ones((1, 2), np.float32)}))
    y: float = answer.as_numpy("y")[0, 0].item()
    return y


async def refusal(protocol: ModuleType, code: str, call: object) -> str:
    """The sentence with which a call is refused, once it has the right code."""
    with pytest.raises(InferenceServerException) as refused:
        await call  # type: ignore[misc]
    assert refused.value.status() == CODES[protocol][code]
    sentence: str = refused.value.message()
    return sentence


async def test_only_what_was_named_at_the_start_is_loaded(ask: Ask, protocol: ModuleType, explicit: Server):
    assert await ask("is_model_ready", "triple") is True
    assert await ask("is_model_ready", "double") is False
    assert await ask("is_server_ready") is True
    assert explicit.index()["misspelt", ""] == ("", "")


async def test_a_loaded_model_answers_and_an_unloaded_one_is_gone(
    ask: Ask, protocol: ModuleType, explicit: Server
):
    await ask("load_model", "double")
    assert await factor(ask, protocol, "double") == 2
    assert explicit.index()["double", "1"] == ("READY", "")

    await ask("unload_model", "double")
    assert await ask("is_model_ready", "double") is False
    said = await refusal(protocol, "not found", factor(ask, protocol, "double"))
    assert said == "Request for unknown model: 'double' has no available versions"
    explicit.until(lambda: explicit.index()["double", "1"] == ("UNAVAILABLE", "unloaded"), within_s=5)
    assert await ask("is_server_ready") is True

    await ask("load_model", "double")
    assert await factor(ask, protocol, "double") == 2


async def test_loading_again_what_has_not_changed_keeps_its_statistics(ask: Ask, protocol: ModuleType):
    await ask("load_model", "double")
    await factor(ask, protocol, "double")
    await ask("load_model", "double")
    told = await ask("get_inference_statistics", "double")
    (statistics,) = told["model_stats"] if protocol is triton_http else told.model_stats
    count = statistics["inference_count"] if protocol is triton_http else statistics.inference_count
    assert count == 1


async def test_a_configuration_may_come_with_the_call(ask: Ask, protocol: ModuleType, explicit: Server):
    await ask("load_model", "double", config=CONFIG)
    shown = explicit.client.get("/v2/models/double/config").json()
    assert shown["max_batch_size"] == 16
    assert await factor(ask, protocol, "double") == 2

    await ask("load_model", "double")
    assert explicit.client.get("/v2/models/double/config").json()["max_batch_size"] == 4


async def test_files_that_come_with_the_call_are_the_whole_model(
    ask: Ask, protocol: ModuleType, repository: Path
):
    await ask("load_model", "double", config=CONFIG, files={"file:1/model.onnx": times(7)})
    assert await factor(ask, protocol, "double") == 7
    assert (repository / "double" / "1" / "model.onnx").read_bytes() == times(2)

    await ask("load_model", "double")
    assert await factor(ask, protocol, "double") == 2


async def test_a_model_may_come_whole_with_the_call(ask: Ask, protocol: ModuleType):
    files = {"file:4/model.onnx": times(4), "file:9/model.onnx": times(9)}
    await ask("load_model", "guest", config=CONFIG, files=files)
    assert await factor(ask, protocol, "guest") == 9
    assert await ask("is_model_ready", "guest", "4") is False  # the version policy is: the latest


async def test_files_without_a_configuration_are_refused(ask: Ask, protocol: ModuleType):
    call = ask("load_model", "double", files={"file:1/model.onnx": times(7)})
    assert "parameter 'config' must be given where files are" in await refusal(protocol, "invalid", call)


async def test_a_name_that_no_repository_has_cannot_be_loaded(ask: Ask, protocol: ModuleType):
    said = await refusal(protocol, "internal", ask("load_model", "nobody"))
    assert said == "failed to load 'nobody', failed to poll from model repository"


async def test_a_configuration_that_cannot_be_read_is_told_with_its_field(ask: Ask, protocol: ModuleType):
    said = await refusal(protocol, "internal", ask("load_model", "misspelt"))
    assert said.startswith("failed to load 'misspelt', failed to poll from model repository: ")
    assert "max_batchsize" in said


async def test_a_broken_model_cannot_be_loaded_and_harms_nobody(
    ask: Ask, protocol: ModuleType, explicit: Server, repository: Path
):
    said = await refusal(protocol, "invalid", ask("load_model", "broken"))
    assert said.startswith("load failed for model 'broken': version 1 is at UNAVAILABLE state: ")
    assert str(repository) not in said
    state, reason = explicit.index()["broken", "1"]
    assert state == "UNAVAILABLE"
    assert said.endswith(reason)
    assert await factor(ask, protocol, "triple") == 3
    assert await ask("is_server_ready") is True


async def test_a_broken_override_leaves_the_model_as_it_was(ask: Ask, protocol: ModuleType):
    await ask("load_model", "double")
    call = ask("load_model", "double", config=CONFIG, files={"file:1/model.onnx": b"this is no model"})
    assert "load failed for model 'double'" in await refusal(protocol, "invalid", call)
    assert await factor(ask, protocol, "double") == 2


async def test_unloading_what_was_never_loaded_succeeds(ask: Ask, protocol: ModuleType):
    await ask("unload_model", "nobody")


@pytest.mark.parametrize("method", ["load_model", "unload_model"])
async def test_a_server_that_follows_its_repository_takes_no_orders(
    ask_polling: Ask, protocol: ModuleType, method: str
):
    said = await refusal(protocol, "unavailable", ask_polling(method, "double"))
    assert said == "explicit model load / unload is not allowed if polling is enabled"
    assert await ask_polling("is_model_ready", "double") is True
