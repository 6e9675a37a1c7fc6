"""The configuration that clients read agrees with the metadata, and can be sent back as it is."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.e2e.golden import golden
from tests.e2e.triton import asking, tensors
from tests.e2e.workshop import CURIOUS_POST, CURIOUS_PRE, echo, put, times
from tests.server_process import SAMPLES, Server, running

MODELS = ["iris", "diabetes", "digits", "digits_onnx", "curious", "double"]
SEEN = {"digits", "digits_onnx", "curious"}
"""Models whose own code shows clients other tensors than the file has."""

SEVEN = golden("digits/1/examples/seven.json").inputs


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples without their golden examples, which could tell what a TorchScript file takes."""
    folder = tmp_path_factory.mktemp("repository")
    for model in ("iris", "diabetes", "digits", "digits_onnx"):
        shutil.copytree(SAMPLES / model, folder / model, ignore=shutil.ignore_patterns("examples"))
    put(folder, "curious", echo(), "max_batch_size: 8", pre_py=CURIOUS_PRE, post_py=CURIOUS_POST)
    put(folder, "double", times(2, 1))
    return folder


@pytest.fixture(scope="module")
def explicit(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ["--model-control-mode=explicit", "--load-model=*"]
    with running(tmp_path_factory.mktemp("explicit") / "log", repository, options=options) as server:
        yield server


def rows_of(config: dict[str, Any], which: str) -> list[tuple[str, str, list[int]]]:
    """Names, datatypes and full shapes, in the words of the metadata."""
    first = [-1] if config["max_batch_size"] else []
    return [
        (
            tensor["name"],
            tensor["data_type"].removeprefix("TYPE_").replace("STRING", "BYTES"),
            first + [int(size) for size in tensor["dims"]],
        )
        for tensor in config[which]
    ]


@pytest.mark.parametrize("model", MODELS)
async def test_inputs_and_outputs_are_those_of_the_metadata(explicit: Server, model: str):
    for protocol, address in ((triton_http, explicit.http), (triton_grpc, explicit.grpc)):
        as_json = {} if protocol is triton_http else {"as_json": True}
        async with asking(protocol, address) as ask:
            metadata = await ask("get_model_metadata", model, **as_json)
            config = await ask("get_model_config", model, **as_json)
        config = config.get("config", config)
        for which in ("input", "output"):
            told = [
                (tensor["name"], tensor["datatype"], [int(size) for size in tensor["shape"]])
                for tensor in metadata[f"{which}s"]
            ]
            assert rows_of(config, which) == told
        assert ("tercet.model_file" in config.get("parameters", {})) is (model in SEEN)


@pytest.mark.parametrize("protocol", [triton_http, triton_grpc], ids=["http", "grpc"])
@pytest.mark.parametrize("model", MODELS)
async def test_what_was_read_can_be_sent_back_in_a_load(explicit: Server, protocol: Any, model: str):
    address, as_json = (explicit.http, {}) if protocol is triton_http else (explicit.grpc, {"as_json": True})
    async with asking(protocol, address) as ask:
        first = await ask("get_model_config", model, **as_json)
        seen = first = first.get("config", first)
        for rows in (2, 3):  # what was sent back is read, changed and sent back again
            if seen["max_batch_size"]:
                seen["max_batch_size"] = rows
            await ask("load_model", model, config=json.dumps(seen))
            seen = await ask("get_model_config", model, **as_json)
            seen = seen.get("config", seen)
            assert seen["max_batch_size"] in (0, rows)
            assert seen == {**first, "max_batch_size": seen["max_batch_size"]}
            assert await ask("is_model_ready", model)
        if model.startswith("digits"):
            answer = await ask("infer", model, tensors(protocol, SEVEN))
            assert answer.as_numpy("digit").item() == 7
