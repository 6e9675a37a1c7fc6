"""The settings of the log, read and changed through tritonclient while the server runs."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

from tests.e2e.triton import Ask, asking
from tests.e2e.workshop import put, times
from tests.server_process import Server, running

AS_STARTED = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


@pytest.fixture(scope="module")
def logging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("repository")
    put(folder, "double", times(2))
    put(folder, "triple", times(3))
    options = ["--model-control-mode=explicit", "--repository-settle-secs=0"]
    with running(tmp_path_factory.mktemp("log") / "log", folder, options=options) as server:
        yield server


@pytest.fixture(
    params=[triton_http, triton_http_aio, triton_grpc, triton_grpc_aio],
    ids=["http", "http.aio", "grpc", "grpc.aio"],
)
async def ask(request: pytest.FixtureRequest, logging: Server) -> AsyncIterator[Ask]:
    protocol: ModuleType = request.param
    over_http = protocol in (triton_http, triton_http_aio)
    async with asking(protocol, logging.http if over_http else logging.grpc) as ask:

        async def plainly(method: str, *arguments: Any) -> Any:
            """The settings as values, whichever client reads them."""
            told = await ask(method, *arguments)
            if not isinstance(told, triton_grpc.service_pb2.LogSettingsResponse):
                return told
            return {
                name: getattr(value, value.WhichOneof("parameter_choice"))
                for name, value in told.settings.items()
            }

        yield plainly
        await ask("update_log_settings", {key: AS_STARTED[key] for key in AS_STARTED if key != "log_file"})


async def test_all_settings_are_read(ask: Ask):
    assert await ask("get_log_settings") == AS_STARTED


async def test_changes_are_answered_with_all_settings_and_stay(ask: Ask):
    changes = {"log_verbose_level": 2, "log_format": "ISO8601", "log_warning": False}
    assert await ask("update_log_settings", changes) == {**AS_STARTED, **changes}
    assert await ask("get_log_settings") == {**AS_STARTED, **changes}


async def test_a_setting_of_none_stays_as_it_is(ask: Ask):
    changes = {"log_info": None, "log_error": False, "log_file": None}
    assert await ask("update_log_settings", changes) == {**AS_STARTED, "log_error": False}


async def test_the_next_line_obeys(ask: Ask, logging: Server):
    mark = "log_settings_changed verbose=9 info=False warning=True error=True format=default\n"
    marks = logging.log.count(mark)
    await ask("update_log_settings", {"log_info": False, "log_verbose_level": 9})
    _load_and_unload(logging)
    await ask("update_log_settings", {"log_info": True, "log_verbose_level": 0, "log_format": "json"})
    _load_and_unload(logging)
    logging.until(lambda: logging.log.count(mark) > marks, within_s=5)
    logging.until(lambda: "version_unloaded" in logging.log.rpartition(mark)[2], within_s=5)
    lines = logging.log.rpartition(mark)[2].splitlines()
    events = [json.loads(line)["event"] for line in lines]
    aside = {"memory_given_back", "audit"}  # those of another thread, and those that no level holds back
    assert [event for event in events if event not in aside] == [
        "log_settings_changed",
        "version_loading",
        "version_ready",
        "version_unloaded",
    ]


def _load_and_unload(server: Server) -> None:
    for order in ("load", "unload"):
        assert server.client.post(f"/v2/repository/models/double/{order}").status_code == 200
    server.until(lambda: server.index()["double", "1"] == ("UNAVAILABLE", "unloaded"))


@pytest.mark.parametrize(
    "changes", [{"log_file": "/tmp/elsewhere"}, {"log_format": "xml"}, {"log_verbose_level": 2**31}]
)
async def test_what_cannot_be_set_is_refused_and_changes_nothing(ask: Ask, changes: dict[str, Any]):
    with pytest.raises(InferenceServerException, match=r"log file location|log setting"):
        await ask("update_log_settings", {"log_info": False, **changes})
    assert await ask("get_log_settings") == AS_STARTED


async def test_the_extension_is_reported_and_those_that_are_off_are_not(logging: Server):
    extensions = set(logging.client.get("/v2").json()["extensions"])
    assert {"logging", "model_repository", "model_repository(unload_dependents)"} <= extensions
    assert not extensions & {"trace", "system_shared_memory", "cuda_shared_memory"}


def test_a_log_file_is_told_as_the_operator_named_it(tmp_path: Path):
    put(tmp_path / "models", "double", times(2))
    options = [f"--log-file={tmp_path}/server.log"]
    with running(tmp_path / "log", tmp_path / "models", options=options) as server:
        assert server.client.get("/v2/logging").json()["log_file"] == f"{tmp_path}/server.log"
