"""The configuration in force, as clients read it."""

import json
from typing import Any

from google.protobuf.json_format import ParseDict

from protos import model_config_pb2 as pb
from server.domain.catalogue import VersionFacts
from server.domain.configuration import (
    ALL_VERSIONS,
    DynamicBatching,
    InstanceGroup,
    InstanceKind,
    ModelConfig,
    Platform,
    QueuePolicy,
    TensorConfig,
    VersionPolicy,
)
from server.domain.signature import Signature
from server.domain.tensors import TensorSpec
from server.observe.tally import Tally
from server.repository.configuration import read_json
from server.wire import configuration
from server.wire.configuration import model_config_response

FILLED_IN = ModelConfig(
    name="tiny",
    platform=Platform.ONNX,
    backend="onnxruntime",
    max_batch_size=8,
    inputs=(
        TensorConfig(name="X", datatype="FP32", dims=(-1, 4)),
        TensorConfig(name="T", datatype="BYTES", dims=(1,)),
    ),
    outputs=(TensorConfig(name="Y", datatype="INT64", dims=(3,), label_filename="labels.txt"),),
    instance_groups=(InstanceGroup(kind=InstanceKind.GPU, count=2, gpus=(0, 1)),),
    default_model_filename="model.onnx",
    dynamic_batching=DynamicBatching(preferred_batch_size=(4, 8), max_queue_delay_microseconds=100),
)


def facts(config: ModelConfig, **seen: tuple[TensorSpec, ...]) -> VersionFacts:
    """One version of the model; `seen` are inputs or outputs that its own code makes."""
    rows = config.max_batch_size or 0
    own = {
        "inputs": tuple(tensor.spec(rows > 0) for tensor in config.inputs),
        "outputs": tuple(tensor.spec(rows > 0) for tensor in config.outputs),
    }
    return VersionFacts(
        model=config.name,
        version=1,
        platform="onnxruntime_onnx",
        config=config,
        signature=Signature(config.name, **{**own, **seen}, max_batch_size=rows),
        tally=Tally(),
        devices=("cpu",),
        load_seconds=0.1,
    )


def model_config(config: ModelConfig, **seen: tuple[TensorSpec, ...]) -> dict[str, Any]:
    return configuration.model_config(facts(config, **seen))


def test_what_was_filled_in_is_there_though_the_operator_wrote_nothing():
    config = model_config(FILLED_IN)
    assert config["name"] == "tiny"
    assert config["platform"] == "onnxruntime_onnx"
    assert config["backend"] == "onnxruntime"
    assert config["max_batch_size"] == 8
    assert [(x["name"], x["data_type"], x["dims"]) for x in config["input"]] == [
        ("X", "TYPE_FP32", [-1, 4]),
        ("T", "TYPE_STRING", [1]),
    ]
    assert config["output"][0]["label_filename"] == "labels.txt"
    assert config["instance_group"][0]["kind"] == "KIND_GPU"
    assert config["instance_group"][0]["gpus"] == [0, 1]
    assert config["default_model_filename"] == "model.onnx"
    assert config["dynamic_batching"]["preferred_batch_size"] == [4, 8]
    assert config["version_policy"] == {"latest": {"num_versions": 1}}


def test_every_scalar_list_and_map_is_there_and_numbers_are_numbers():
    config = model_config(FILLED_IN)
    assert config["runtime"] == ""
    assert config["metric_tags"] == {}
    assert config["model_warmup"] == []
    assert config["input"][0]["format"] == "FORMAT_NONE"
    assert config["input"][0]["optional"] is False
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 100
    assert config["dynamic_batching"]["priority_levels"] == 0
    assert json.loads(json.dumps(config)) == config


def test_what_the_operator_wrote_stays_below_what_is_in_force():
    written = {
        "name": "tiny",
        "max_batch_size": 4,
        "input": [{"name": "X", "data_type": "TYPE_FP32", "format": "FORMAT_NCHW", "dims": [1, 1, 1]}],
        "response_cache": {"enable": True},
        "model_warmup": [{"name": "w", "inputs": {"X": {"dims": [4], "zero_data": True}}}],
        "dynamic_batching": {"priority_queue_policy": {"1": {"default_timeout_microseconds": 5}}},
        "instance_group": [{"name": "mine", "count": 3}],
    }
    declared = ParseDict(written, pb.ModelConfig()).SerializeToString()
    config = model_config(
        ModelConfig(
            name="tiny", max_batch_size=8, inputs=FILLED_IN.inputs, declared=declared, instance_groups=()
        )
    )
    assert config["max_batch_size"] == 8
    assert [x["name"] for x in config["input"]] == ["X", "T"]
    assert config["input"][0]["format"] == "FORMAT_NCHW"
    assert config["input"][0]["dims"] == [-1, 4]
    assert config["response_cache"]["enable"] is True
    assert config["model_warmup"][0]["inputs"]["X"]["dims"] == [4]
    assert config["dynamic_batching"]["priority_queue_policy"]["1"]["default_timeout_microseconds"] == 5
    assert config["instance_group"][0]["name"] == "mine"
    assert len(config["instance_group"]) == 1


def test_the_version_policy_and_the_queue_policy_are_those_in_force():
    everything = ModelConfig(name="m", version_policy=ALL_VERSIONS)
    assert model_config(everything)["version_policy"] == {"all": {}}
    named = ModelConfig(
        name="m",
        version_policy=VersionPolicy(specific=frozenset({3, 1})),
        dynamic_batching=DynamicBatching(default_queue_policy=QueuePolicy(max_queue_size=5)),
    )
    assert model_config(named)["version_policy"] == {"specific": {"versions": [1, 3]}}
    assert model_config(named)["dynamic_batching"]["default_queue_policy"]["max_queue_size"] == 5


def test_a_model_that_runs_requests_alone_has_no_dynamic_batching():
    assert "dynamic_batching" not in model_config(ModelConfig(name="m"))


def test_the_message_says_the_same():
    config = model_config_response(facts(FILLED_IN)).config
    assert config.max_batch_size == 8
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]


IMAGE = TensorSpec("IMAGE", "BYTES", (-1, 1))


def test_the_inputs_are_those_that_clients_see_where_the_versions_code_makes_them():
    config = model_config(FILLED_IN, inputs=(IMAGE,))
    assert [(x["name"], x["data_type"], x["dims"]) for x in config["input"]] == [
        ("IMAGE", "TYPE_STRING", [1])
    ]
    assert [(y["name"], y["label_filename"]) for y in config["output"]] == [("Y", "labels.txt")]
    unbatched = ModelConfig(name="m", max_batch_size=0, outputs=FILLED_IN.outputs)
    shown = model_config(unbatched, outputs=(TensorSpec("Z", "FP32", (2, -1)),))
    assert [(y["name"], y["dims"]) for y in shown["output"]] == [("Z", [2, -1])]


def test_what_clients_read_and_send_back_says_what_the_operator_said():
    declared = ModelConfig(
        name="tiny",
        max_batch_size=8,
        inputs=(TensorConfig(name="X", datatype="FP32", dims=(1,), reshape=(), optional=True),),
        outputs=FILLED_IN.outputs,
        parameters={"threads": "2"},
    )
    sent = model_config(declared, inputs=(IMAGE,), outputs=(TensorSpec("Z", "FP32", (-1, 2)),))
    read = read_json(json.dumps(sent), "tiny").config
    assert (read.inputs, read.outputs) == (declared.inputs, declared.outputs)
    assert read.parameters == {"threads": "2"}
    assert b"tercet" not in read.declared


def test_the_model_files_tensors_are_not_told_twice():
    assert model_config(FILLED_IN)["parameters"] == {}
