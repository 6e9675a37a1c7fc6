"""A model may have any name that its folder may have: every path and every call finds it by that name."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.e2e.scrape import metric
from tests.e2e.triton import asking, tensors
from tests.e2e.workshop import put, times
from tests.server_process import Server, running

NAMES = [
    "two words",
    "v1.2.onnx",
    "team:fraud",
    "größe",
    "模型-🦊",
    "50%",
    "a%20b",
    "a+b&c=d;e,f@g",
    "what?",
    "no#1",
    'it\'s "quoted"',
    "(x)[y]{z}|^`<>$!*~1",
    "versions",
    "infer",
    "ready",
]
ROW = {"x": np.ones((1, 2), np.float32)}
BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}]}


@pytest.fixture(scope="module")
def explicit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("repository")
    for name in NAMES:
        put(folder, name, times(2))
    options = ["--model-control-mode=explicit", "--load-model=*", "--repository-settle-secs=0"]
    with running(tmp_path_factory.mktemp("explicit") / "log", folder, options=options) as server:
        yield server


@pytest.mark.parametrize("name", NAMES)
def test_every_path_is_found_by_the_name_as_browsers_write_it(explicit: Server, name: str):
    for written in (quote(name, safe=""), "".join(f"%{byte:02x}" for byte in name.encode())):
        for base in (f"/v2/models/{written}", f"/v2/models/{written}/versions/1"):
            assert explicit.client.get(base).json()["name"] == name
            assert explicit.client.get(f"{base}/ready").json() == {"name": name, "ready": True}
            assert explicit.client.get(f"{base}/config").json()["name"] == name
            assert explicit.client.get(f"{base}/stats").json()["model_stats"][0]["name"] == name
            answer = explicit.client.post(f"{base}/infer", json=BODY).json()
            assert (answer["model_name"], answer["outputs"][0]["data"]) == (name, [2, 2])
            assert explicit.client.post(f"{base}/predict", json=[1, 1]).json() == {"y": [2, 2]}


@pytest.mark.parametrize("protocol", [triton_http, triton_grpc], ids=["http", "grpc"])
@pytest.mark.parametrize("name", NAMES)
async def test_tritonclient_finds_it_by_every_call(explicit: Server, protocol: ModuleType, name: str):
    address = explicit.http if protocol is triton_http else explicit.grpc
    async with asking(protocol, address) as ask:
        await ask("unload_model", name)
        assert await ask("is_model_ready", name) is False
        await ask("load_model", name)
        assert await ask("is_model_ready", name, "1") is True
        told = [
            await ask(call, name)
            for call in ("get_model_metadata", "get_model_config", "get_inference_statistics")
        ]
        assert all(_names(document) == name for document in told)
        answer = await ask("infer", name, tensors(protocol, ROW))
        response: Any = answer.get_response()
        assert _names(response) == name
        assert answer.as_numpy("y").tolist() == [[2, 2]]
        index = await ask("get_model_repository_index")
        assert name in [_names(line) for line in getattr(index, "models", index)]
    assert metric(explicit, "nv_inference_request_success", model=name) > 0


def test_a_name_with_a_slash_is_no_model(explicit: Server):
    for path in ("/v2/models/a%2Fb", "/v2/models/a%2Fb/infer", "/v2/models/a/b/infer"):
        answer = explicit.client.post(path, json=BODY) if "infer" in path else explicit.client.get(path)
        assert answer.status_code == 404
        assert answer.json().keys() == {"error"}


def _names(told: Any) -> str:
    """The model that an answer is about, in JSON or in a message."""
    if isinstance(told, dict):
        told = told.get("model_stats", [told])[0]
        return told.get("model_name") or told["name"]
    told = getattr(told, "config", told)
    told = told.model_stats[0] if hasattr(told, "model_stats") else told
    return getattr(told, "model_name", "") or told.name
