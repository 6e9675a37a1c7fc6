"""Every public method of tritonclient's four clients, asked of a real server: none may be left out."""

import inspect
import queue
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

from tests.e2e.triton import tensors
from tests.e2e.workshop import put, times
from tests.server_process import Server, running

ROW = {"x": np.array([[1.5]], np.float32)}
PROTOCOLS = (triton_http, triton_http_aio, triton_grpc, triton_grpc_aio)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("every")
    (folder / "models").mkdir()
    for name in ("double", "spare"):
        put(folder / "models", name, times(2, 1))
    options = ["--model-control-mode=explicit", "--load-model=double", "--repository-settle-secs=0"]
    with running(folder / "log", folder / "models", options=options) as server:
        yield server


class Client:
    """One client of tritonclient's, whose answers are awaited where they have to be."""

    def __init__(self, protocol: ModuleType, server: Server) -> None:
        self.protocol = protocol
        self.over_http = protocol in (triton_http, triton_http_aio)
        self.client = protocol.InferenceServerClient(server.http if self.over_http else server.grpc)

    async def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        answer = getattr(self.client, method)(*arguments, **options)
        return await answer if inspect.isawaitable(answer) else answer

    async def plainly(self, method: str, *arguments: Any) -> Any:
        """The answer as JSON would have it, whichever client asks."""
        if self.over_http:
            return await self.ask(method, *arguments)
        return await self.ask(method, *arguments, as_json=True)

    async def refused(self, method: str, *arguments: Any) -> str:
        with pytest.raises(InferenceServerException) as refusal:
            await self.ask(method, *arguments)
        assert refusal.value.status() in ("501", "StatusCode.UNIMPLEMENTED")
        return refusal.value.message()


Does = Callable[[Client], Awaitable[None]]
DOES: dict[str, Does] = {}


def does(*methods: str) -> Callable[[Does], Does]:
    """What the test of these methods is."""

    def note(test: Does) -> Does:
        DOES.update(dict.fromkeys(methods, test))
        return test

    return note


@does("is_server_live", "is_server_ready", "is_model_ready")
async def health(client: Client) -> None:
    assert await client.ask("is_server_live") is True
    assert await client.ask("is_server_ready") is True
    assert await client.ask("is_model_ready", "double") is True
    assert await client.ask("is_model_ready", "double", "1") is True
    assert await client.ask("is_model_ready", "nobody") is False


@does("get_server_metadata", "get_model_metadata", "get_model_config")
async def descriptions(client: Client) -> None:
    server = await client.plainly("get_server_metadata")
    assert server["name"] == "tercet"
    assert "statistics" in server["extensions"]
    model = await client.plainly("get_model_metadata", "double")
    assert model["inputs"][0]["name"] == "x"
    answer = await client.plainly("get_model_config", "double")
    config = answer if client.over_http else answer["config"]
    assert config["input"][0]["data_type"] == "TYPE_FP32"


@does("get_inference_statistics")
async def statistics(client: Client) -> None:
    await client.ask("infer", "double", tensors(client.protocol, ROW))
    one = (await client.plainly("get_inference_statistics", "double"))["model_stats"][0]
    assert int(one["inference_stats"]["success"]["count"]) > 0
    assert (await client.plainly("get_inference_statistics"))["model_stats"]


@does("get_model_repository_index", "load_model", "unload_model")
async def control(client: Client) -> None:
    await client.ask("load_model", "spare")
    assert await client.ask("is_model_ready", "spare")
    await client.ask("unload_model", "spare")
    assert not await client.ask("is_model_ready", "spare")
    answer = await client.plainly("get_model_repository_index")
    index = answer if client.over_http else answer["models"]
    states = {line["name"]: line["state"] for line in index}
    assert states["double"] == "READY"
    assert states["spare"] in ("UNLOADING", "UNAVAILABLE")  # it answers nobody, and is being taken down


@does("get_log_settings", "update_log_settings")
async def log_settings(client: Client) -> None:
    answer = await client.plainly("update_log_settings", {"log_verbose_level": 1})
    settings = answer if client.over_http else answer["settings"]
    assert settings["log_verbose_level"] == (1 if client.over_http else {"uint32_param": 1})
    await client.ask("update_log_settings", {"log_verbose_level": 0})
    assert "log_info" in str(await client.plainly("get_log_settings"))


@does("get_trace_settings", "update_trace_settings")
async def trace_settings(client: Client) -> None:
    def rate(told: Any) -> str:
        return str(told["trace_rate"] if client.over_http else told["settings"]["trace_rate"]["value"][0])

    changed = await client.plainly("update_trace_settings", "double", {"trace_rate": "7"})
    assert rate(changed) == rate(await client.plainly("get_trace_settings", "double")) == "7"
    assert rate(await client.plainly("get_trace_settings")) == "1000"


@does("get_system_shared_memory_status", "register_system_shared_memory", "unregister_system_shared_memory")
async def system_shared_memory(client: Client) -> None:
    answer = await client.plainly("get_system_shared_memory_status")
    assert not (answer if client.over_http else answer.get("regions"))
    assert "shared memory" in await client.refused("register_system_shared_memory", "r", "/r", 4)
    assert "shared memory" in await client.refused("unregister_system_shared_memory", "r")


@does("get_cuda_shared_memory_status", "register_cuda_shared_memory", "unregister_cuda_shared_memory")
async def cuda_shared_memory(client: Client) -> None:
    answer = await client.plainly("get_cuda_shared_memory_status")
    assert not (answer if client.over_http else answer.get("regions"))
    assert "shared memory" in await client.refused("register_cuda_shared_memory", "r", b"aGFuZGxl", 0, 4)
    assert "shared memory" in await client.refused("unregister_cuda_shared_memory", "r")


@does("infer")
async def infer(client: Client) -> None:
    outputs = [client.protocol.InferRequestedOutput("y")]
    answer = await client.ask(
        *("infer", "double", tensors(client.protocol, ROW), "1", outputs),
        request_id="7",
        priority=1,
        timeout=5_000_000,
        parameters={"depth": 3},
    )
    assert answer.as_numpy("y").tolist() == [[3.0]]


@does("async_infer")
async def async_infer(client: Client) -> None:
    if client.over_http:
        waiting = client.client.async_infer("double", tensors(client.protocol, ROW))
        answer = waiting.get_result()
    else:
        told: queue.Queue[Any] = queue.Queue()
        client.client.async_infer(
            "double", tensors(client.protocol, ROW), callback=lambda result, error: told.put((result, error))
        )
        answer, error = told.get(timeout=20)
        assert error is None
    assert answer.as_numpy("y").tolist() == [[3.0]]


@does("start_stream", "async_stream_infer", "stop_stream")
async def callback_stream(client: Client) -> None:
    told: queue.Queue[Any] = queue.Queue()
    client.client.start_stream(lambda result, error: told.put((result, error)))
    client.client.async_stream_infer("double", tensors(client.protocol, ROW), request_id="good")
    client.client.async_stream_infer("nobody", tensors(client.protocol, ROW), request_id="bad")
    outcomes = [told.get(timeout=20) for _ in range(2)]
    client.client.stop_stream()
    (good,) = [result for result, error in outcomes if error is None]
    (bad,) = [error for _, error in outcomes if error is not None]
    assert good.as_numpy("y").tolist() == [[3.0]]
    assert "unknown model: 'nobody'" in bad.message()


@does("stream_infer")
async def awaited_stream(client: Client) -> None:
    async def questions() -> AsyncIterator[dict[str, Any]]:
        for name in ("double", "nobody"):
            yield {"model_name": name, "inputs": tensors(client.protocol, ROW)}

    outcomes = [each async for each in client.client.stream_infer(questions())]
    assert [result.as_numpy("y").tolist() for result, error in outcomes if error is None] == [[[3.0]]]
    assert ["unknown model: 'nobody'" in error.message() for _, error in outcomes if error] == [True]


@does("generate_request_body", "parse_response_body")
async def bodies(client: Client) -> None:
    maker = client.protocol.InferenceServerClient
    body, json_length = maker.generate_request_body(tensors(client.protocol, ROW))
    assert json_length < len(body)
    json_text = b'{"model_name":"double","model_version":"1","outputs":[]}'
    assert maker.parse_response_body(json_text).get_response()["model_name"] == "double"


@does("plugin", "register_plugin", "unregister_plugin")
async def plugin(client: Client) -> None:
    seen = []

    class Watching(client.protocol.InferenceServerClientPlugin):  # type: ignore[name-defined, misc]
        def __call__(self, request: Any) -> None:
            seen.append(request)

    client.client.register_plugin(Watching())
    assert client.client.plugin() is not None
    assert await client.ask("is_server_live")
    client.client.unregister_plugin()
    assert len(seen) == 1


@does("close")
async def close(client: Client) -> None:
    assert await client.ask("is_server_live")
    await client.ask("close")


METHODS = [
    (protocol, name)
    for protocol in PROTOCOLS
    for name, _ in inspect.getmembers(protocol.InferenceServerClient, callable)
    if not name.startswith("_")
]


@pytest.mark.parametrize(
    ("protocol", "method"), METHODS, ids=[f"{protocol.__name__[13:]}-{name}" for protocol, name in METHODS]
)
async def test_every_public_method_is_answered(server: Server, protocol: ModuleType, method: str):
    client = Client(protocol, server)
    try:
        await DOES[method](client)
    finally:
        if method != "close":
            await client.ask("close")
