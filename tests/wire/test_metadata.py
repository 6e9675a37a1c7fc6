"""What the server says of itself, its models and its repository."""

from dataclasses import replace

from server.domain.catalogue import VersionFacts
from server.domain.configuration import ModelConfig
from server.domain.state import UNLOADED, State, Status
from server.observe.run_counts import RunCounts
from server.observe.tally import Tally
from server.wire import metadata, statistics
from tests.wire.models import TINY


def facts(tally: Tally | None = None) -> VersionFacts:
    return VersionFacts(
        model="tiny",
        version=3,
        platform="onnxruntime_onnx",
        config=ModelConfig(name="tiny"),
        signature=TINY,
        tally=tally or Tally(),
        devices=("cpu",),
        load_seconds=0.1,
    )


def test_model_metadata_has_full_shapes():
    assert metadata.model_metadata(facts(), [1, 3]) == {
        "name": "tiny",
        "versions": ["1", "3"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "OUTPUT", "datatype": "FP32", "shape": [-1, 3]}],
    }


def test_model_metadata_is_the_same_as_a_message():
    message = metadata.model_metadata_message(facts(), [3])
    assert (message.name, list(message.versions), message.platform) == ("tiny", ["3"], "onnxruntime_onnx")
    assert list(message.inputs[0].shape) == [-1, 4]
    assert message.outputs[0].datatype == "FP32"


def test_server_metadata_has_its_extensions():
    assert metadata.server_metadata("tercet", "0.1", ["statistics"]) == {
        "name": "tercet",
        "version": "0.1",
        "extensions": ["statistics"],
    }
    assert list(metadata.server_metadata_message("tercet", "0.1", ["a", "b"]).extensions) == ["a", "b"]


INDEX = [
    Status("a", 1, State.READY),
    Status("a", 2, State.UNAVAILABLE, UNLOADED),
    Status("b", None, State.UNKNOWN),
    Status("c", None, State.UNAVAILABLE, "found in two repositories"),
]


def test_the_index_has_a_line_for_each_version_and_a_bare_name_for_what_was_never_tried():
    assert metadata.repository_index(INDEX) == [
        {"name": "a", "version": "1", "state": "READY"},
        {"name": "a", "version": "2", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "b"},
        {"name": "c", "version": "", "state": "UNAVAILABLE", "reason": "found in two repositories"},
    ]


def test_the_index_can_be_of_what_is_ready_alone():
    assert [line["name"] for line in metadata.repository_index(INDEX, ready_only=True)] == ["a"]


def test_the_index_is_the_same_as_a_message():
    lines = metadata.repository_index_message(INDEX).models
    assert [(line.name, line.version, line.state, line.reason) for line in lines] == [
        ("a", "1", "READY", ""),
        ("a", "2", "UNAVAILABLE", "unloaded"),
        ("b", "", "", ""),
        ("c", "", "UNAVAILABLE", "found in two repositories"),
    ]


def test_statistics_have_every_member_even_of_a_version_that_did_nothing():
    (version,) = statistics.model_statistics([facts()])["model_stats"]
    nothing = {"count": 0, "ns": 0}
    assert version == {
        "name": "tiny",
        "version": "3",
        "last_inference": 0,
        "inference_count": 0,
        "execution_count": 0,
        "inference_stats": dict.fromkeys(
            (
                "success",
                "fail",
                "queue",
                "compute_input",
                "compute_infer",
                "compute_output",
                "cache_hit",
                "cache_miss",
            ),
            nothing,
        ),
        "response_stats": {},
        "batch_stats": [],
        "memory_usage": [],
    }


def test_statistics_count_by_batch_size_in_order():
    tally = Tally(sums=RunCounts(inference_count=5, execution_count=2, last_inference=1_700_000_000_000))
    tally.success.add(3, 4_000_000_000_000)
    tally.batch(4).compute_infer.add(1, 7)
    tally.batch(1).compute_infer.add(1, 5)
    (version,) = statistics.model_statistics([facts(tally)])["model_stats"]
    assert [(batch["batch_size"], batch["compute_infer"]["ns"]) for batch in version["batch_stats"]] == [
        (1, 5),
        (4, 7),
    ]
    message = statistics.model_statistics_message([facts(tally)]).model_stats[0]
    assert message.inference_stats.success.ns == 4_000_000_000_000
    assert message.inference_stats.HasField("cache_miss")
    assert message.batch_stats[1].batch_size == 4
    assert message.last_inference == 1_700_000_000_000


def test_statistics_tell_the_memory_of_each_device_by_tritons_names():
    told = replace(facts(), memory={"cuda:1": 7, "cpu": 5})
    (version,) = statistics.model_statistics([told])["model_stats"]
    assert version["memory_usage"] == [
        {"type": "CPU", "id": 0, "byte_size": 5},
        {"type": "GPU", "id": 1, "byte_size": 7},
    ]
    (message,) = statistics.model_statistics_message([told]).model_stats
    assert [(each.type, each.id, each.byte_size) for each in message.memory_usage] == [
        ("CPU", 0, 5),
        ("GPU", 1, 7),
    ]
