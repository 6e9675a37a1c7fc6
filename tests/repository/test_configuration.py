"""From config.pbtxt or JSON to the frozen configuration, or to a sentence with its place."""

import json
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from protos import model_config_pb2 as pb
from protos.json_values import json_values
from server.domain.configuration import (
    ALL_VERSIONS,
    DynamicBatching,
    InstanceGroup,
    InstanceKind,
    Platform,
    QueuePolicy,
    Resource,
    TensorConfig,
    TimeoutAction,
    VersionPolicy,
)
from server.domain.scheduling import UNSAID, Scheduling
from server.domain.warmup import Warmup, WarmupData, WarmupInput
from server.repository.configuration import Reading, read_json, read_nothing, read_text
from server.repository.invalid import ConfigInvalid

FULL = """
name: "m"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_STRING dims: [ -1, 3 ] optional: true reshape { shape: [ 3, -1 ] } } ]
output { name: "y" data_type: TYPE_FP32 dims: 2 label_filename: "labels.txt" }
version_policy: { specific { versions: [ 1, 3 ] } }
instance_group [ { kind: KIND_GPU count: 2 gpus: [ 0, 1 ] } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  default_queue_policy { timeout_action: DELAY max_queue_size: 16 }
}
metric_tags { key: "team" value: "vision" }
parameters { key: "threads" value: { string_value: "2" } }
"""


def shown(reading: Reading) -> dict[str, Any]:
    return json_values(pb.ModelConfig.FromString(reading.config.declared))


def test_what_is_written_is_what_is_configured():
    config = read_text(FULL.encode(), "m", "m/config.pbtxt").config
    assert (config.platform, config.backend, config.max_batch_size) == (Platform.ONNX, "onnxruntime", 8)
    assert config.inputs == (
        TensorConfig(name="x", datatype="BYTES", dims=(-1, 3), reshape=(3, -1), optional=True),
    )
    assert config.outputs == (
        TensorConfig(name="y", datatype="FP32", dims=(2,), label_filename="labels.txt"),
    )
    assert config.version_policy == VersionPolicy(latest=None, specific=frozenset({1, 3}))
    assert config.instance_groups == (InstanceGroup(kind=InstanceKind.GPU, count=2, gpus=(0, 1)),)
    assert config.dynamic_batching == DynamicBatching(
        preferred_batch_size=(4, 8),
        max_queue_delay_microseconds=100,
        default_queue_policy=QueuePolicy(timeout_action=TimeoutAction.DELAY, max_queue_size=16),
    )
    assert config.metric_tags == {"team": "vision"}
    assert config.parameters == {"threads": "2"}


QUEUES = """
max_batch_size: 4
dynamic_batching {
  priority_levels: 3
  default_priority_level: 2
  default_queue_policy { max_queue_size: 5 }
  priority_queue_policy { key: 1 value { default_timeout_microseconds: 9 allow_timeout_override: true } }
  priority_queue_policy { key: 3 value { timeout_action: DELAY default_timeout_microseconds: 7 } }
}
instance_group [
  { count: 2 rate_limiter { resources [ { name: "R" global: true count: 4 }, { name: "S" count: 1 } ] } },
  { rate_limiter { priority: 2 } }
]
model_warmup [
  {
    name: "w" batch_size: 4 count: 3
    inputs { key: "y" value { data_type: TYPE_STRING dims: 1 input_data_file: "texts/y" } }
    inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 2, 3 ] random_data: true } }
  },
  { batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 zero_data: true } } }
]
parameters { key: "latency_target_ms" value { string_value: "12.5" } }
parameters { key: "hedge_after_ms" value { string_value: "40" } }
parameters { key: "scheduling_weight" value { string_value: "3" } }
"""


def test_queues_resources_warmups_and_a_latency_target_are_configured_as_they_are_written():
    reading = read_text(QUEUES.encode(), "m", "f")
    config = reading.config
    assert reading.unread == ()
    assert config.dynamic_batching == DynamicBatching(
        priority_levels=3,
        default_priority_level=2,
        default_queue_policy=QueuePolicy(max_queue_size=5),
        priority_queue_policy={
            1: QueuePolicy(default_timeout_microseconds=9, allow_timeout_override=True),
            3: QueuePolicy(timeout_action=TimeoutAction.DELAY, default_timeout_microseconds=7),
        },
    )
    needs = (Resource(name="R", count=4, is_global=True), Resource(name="S", count=1))
    assert config.instance_groups == (
        InstanceGroup(count=2, resources=needs),
        InstanceGroup(rate_limiter_priority=2),
    )
    x = WarmupInput(name="x", datatype="FP32", dims=(2, 3), data=WarmupData.RANDOM)
    y = WarmupInput(name="y", datatype="BYTES", dims=(1,), data=WarmupData.FILE, file="texts/y")
    zero = WarmupInput(name="x", datatype="FP32", dims=(), data=WarmupData.ZERO)
    assert config.warmups == (
        Warmup(name="w", batch_size=4, count=3, inputs=(x, y)),
        Warmup(name="number 2", batch_size=1, count=1, inputs=(zero,)),
    )
    assert config.scheduling == Scheduling(latency_target_ms=12.5, weight=3)
    assert config.hedge_after_ms == 40
    assert read_nothing("m").config.scheduling == UNSAID


def test_a_model_is_pinned_where_its_configuration_says_so():
    said = 'parameters { key: "tercet.pinned" value { string_value: "True" } }'
    assert read_text(said.encode(), "m", "config.pbtxt").config.is_pinned
    assert not read_text(said.replace("True", "false").encode(), "m", "config.pbtxt").config.is_pinned
    assert not read_nothing("m").config.is_pinned


@pytest.mark.parametrize("written", [FULL, QUEUES], ids=["full", "queues"])
def test_the_text_and_the_json_of_one_configuration_read_the_same(written: str):
    from_text = read_text(written.encode(), "m", "m/config.pbtxt")
    from_json = read_json(json.dumps(shown(from_text)), "m")
    assert from_json.config == from_text.config
    assert from_json.fingerprint == from_text.fingerprint


def test_what_is_declared_shows_every_scalar_enums_by_name_and_long_integers_as_numbers():
    declared = shown(read_text(FULL.encode(), "m", "m/config.pbtxt"))
    assert declared["runtime"] == ""
    assert declared["input"][0]["dims"] == [-1, 3]
    assert declared["input"][0]["format"] == "FORMAT_NONE"
    assert declared["dynamic_batching"]["max_queue_delay_microseconds"] == 100
    assert declared["dynamic_batching"]["default_queue_policy"]["default_timeout_microseconds"] == 0
    assert declared["parameters"] == {"threads": {"string_value": "2"}}
    assert "sequence_batching" not in declared


def test_a_batch_size_that_nobody_wrote_is_left_to_the_model_file_and_a_written_0_is_not():
    assert read_nothing("m").config.max_batch_size is None
    assert read_text(b"", "m", "f").config.max_batch_size is None
    assert read_text(b"max_batch_size: 0", "m", "f").config.max_batch_size == 0
    assert read_json('{"max_batch_size": 0}', "m").config.max_batch_size == 0
    assert read_json('{"name": "m"}', "m").config.max_batch_size is None


def test_the_version_policies_are_latest_all_and_specific():
    assert read_text(b"", "m", "f").config.version_policy == VersionPolicy(latest=1)
    assert read_text(b"version_policy { all {} }", "m", "f").config.version_policy == ALL_VERSIONS
    latest = read_text(b"version_policy { latest { num_versions: 2 } }", "m", "f").config.version_policy
    assert latest == VersionPolicy(latest=2)


def test_comments_and_spaces_do_not_change_the_fingerprint_and_values_do():
    plain = read_text(b"max_batch_size: 8", "m", "f").fingerprint
    assert read_text(b"# more\n\n max_batch_size :  8 ", "m", "f").fingerprint == plain
    assert read_text(b"max_batch_size: 9", "m", "f").fingerprint != plain
    assert read_text(b"max_batch_size: 0", "m", "f").fingerprint != read_nothing("m").fingerprint


def test_fields_that_nothing_acts_on_are_listed_by_name():
    text = b"""
    input { name: "x" data_type: TYPE_FP32 dims: 1 allow_ragged_batch: true }
    instance_group { host_policy: "node_0" }
    optimization { cuda { graphs: true output_copy_stream: true } eager_batching: true }
    response_cache { enable: true }
    """
    assert read_text(text, "m", "f").unread == (
        "input.allow_ragged_batch",
        "instance_group.host_policy",
        "optimization.cuda.output_copy_stream",
        "optimization.eager_batching",
        "response_cache",
    )
    assert read_text(FULL.encode(), "m", "f").unread == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sequence_batching { }", "sequence_batching"),
        ("model_transaction_policy { decoupled: true }", "decoupled"),
    ],
)
def test_kinds_that_are_not_served_yet_are_read_and_say_so(text: str, why: str):
    assert why in read_text(text.encode(), "m", "f").not_served


X = 'input { name: "x" data_type: TYPE_FP32 dims: [ 3, 4 ] '
BAD = [
    # text, line, column, field, a part of the sentence
    ("max_batch_sise: 8", 1, 1, "max_batch_sise", "did you mean 'max_batch_size'"),
    ('name: "m"\ninput [\n  { nmae: "x" }\n]', 3, 5, "input[0].nmae", "did you mean 'name'"),
    ("frobnicate { a { b: 1 } }", 1, 1, "frobnicate", "there is no field"),
    ('name: "m"\ninput {\n  name: "x"\n', 3, 9, "input[0].name", 'Expected "}"'),
    ('name "m"', 1, 6, "name", 'Expected ":"'),
    ('name: "m', 1, 7, "name", "missing ending quote"),
    ('name: "m"\n}', 2, 1, "name", "got }"),
    ('name: "m" name: "m"', 1, 17, "name", "multiple"),
    ("max_batch_size: many", 1, 17, "max_batch_size", "many"),
    ('max_batch_size: "8"', 1, 17, "max_batch_size", "integer"),
    ("max_batch_size: 99999999999", 1, 17, "max_batch_size", "out of range"),
    ("input: 3", 1, 8, "input[0]", 'Expected "{"'),
    ('input { name: "x"\n data_type: FP32 }', 2, 13, "input[0].data_type", "did you mean 'TYPE_FP32'"),
    ("\ninstance_group { kind: KIND_TPU }", 2, 24, "instance_group[0].kind", "did you mean 'KIND_GPU'"),
    ("dynamic_batching { }\nsequence_batching { }", 2, 1, "sequence_batching", "beside dynamic_batching"),
    ("max_batch_size: 1 $", 1, 19, "max_batch_size", "got $"),
    ('\nname: "n"', 2, 1, "name", "folder is named 'm'"),
    ('platform: "tensorflow"', 1, 1, "platform", "must be one of onnxruntime_onnx, pytorch_libtorch"),
    ('backend: "tensorrt"', 1, 1, "backend", "onnxruntime, pytorch, python, sleeping, remote, ensemble"),
    ('platform: "onnxruntime_onnx"\nbackend: "pytorch"', 2, 1, "backend", "but platform is"),
    ('platform: "ensemble"', 1, 1, "platform", "no ensemble_scheduling"),
    ('backend: "python"\nensemble_scheduling { }', 2, 1, "ensemble_scheduling", "not for python"),
    ("max_batch_size: -1", 1, 1, "max_batch_size", "is -1, must be 0"),
    ("input {\n data_type: TYPE_FP32 dims: 1 }", 1, 1, "input[0].name", "missing"),
    ('input { name: "x" dims: 1 }', 1, 1, "input[0].data_type", "missing"),
    ('input { name: "x" data_type: 99 dims: 1 }', 1, 19, "input[0].data_type", "no data type"),
    ('output { name: "x"\n data_type: TYPE_FP32 }', 1, 1, "output[0].dims", "missing"),
    ('input { name: "x" data_type: TYPE_FP32\n dims: [ 3, 0 ] }', 2, 13, "input[0].dims[1]", "is 0"),
    ('input { name: "x" data_type: TYPE_FP32 dims: -2 }', 1, 40, "input[0].dims[0]", "is -2"),
    (X + "}\n" + X + "}", 2, 9, "input[1].name", "another input"),
    (X + "format: FORMAT_NHWC }", 1, 55, "input[0].format", "3 dims"),
    (X + "reshape { shape: [ 5 ] } }", 1, 55, "input[0].reshape", "[5]"),
    (X + "reshape { shape: [ -1 ] } }", 1, 55, "input[0].reshape", "[-1]"),
    (X + "reshape { shape: [ 0 ] } }", 1, 74, "input[0].reshape.shape[0]", "is 0"),
    (
        'max_batch_size: 0\ninput { name: "x" data_type: TYPE_FP32 dims: 1 reshape { shape: [ ] } }',
        2,
        48,
        "input[0].reshape",
        "needs max_batch_size above 0",
    ),
    ("version_policy { latest { num_versions: 0 } }", 1, 27, "version_policy.latest.num_versions", "least 1"),
    ("version_policy { specific { } }", 1, 18, "version_policy.specific.versions", "missing"),
    (
        "version_policy { specific { versions: [ 1, 0 ] } }",
        1,
        44,
        "version_policy.specific.versions[1]",
        "begin at 1",
    ),
    ("instance_group { kind: KIND_GPU\n count: -1 }", 2, 2, "instance_group[0].count", "is -1"),
    ("instance_group { kind: KIND_MODEL }", 1, 18, "instance_group[0].kind", "not supported"),
    ("instance_group { kind: 9 }", 1, 18, "instance_group[0].kind", "no kind"),
    ("instance_group { kind: KIND_CPU gpus: 0 }", 1, 33, "instance_group[0].gpus", "KIND_CPU"),
    ("instance_group { gpus: [ 0, -1 ] }", 1, 29, "instance_group[0].gpus[1]", "numbered from 0"),
    (
        "max_batch_size: 4\ndynamic_batching { preferred_batch_size: [ 4, 8 ] }",
        2,
        47,
        "dynamic_batching.preferred_batch_size[1]",
        "is 8, but max_batch_size is 4",
    ),
    (
        "dynamic_batching { preferred_batch_size: 0 }",
        1,
        20,
        "dynamic_batching.preferred_batch_size[0]",
        "at least 1",
    ),
    (
        "dynamic_batching { priority_levels: 2 }",
        1,
        1,
        "dynamic_batching.default_priority_level",
        "from 1 to 2",
    ),
    ("dynamic_batching { priority_levels: 99999999999 default_priority_level: 1 }", 1, 20,
     "dynamic_batching.priority_levels", "is 99999999999, must be at most 1024"),
    (
        "dynamic_batching {\n priority_levels: 2 default_priority_level: 1\n"
        " priority_queue_policy { key: 3 value { } } }",
        3,
        2,
        "dynamic_batching.priority_queue_policy",
        "a policy for level 3, but priority_levels is 2",
    ),
    (
        "dynamic_batching { priority_levels: 2 default_priority_level: 1\n preserve_ordering: true }",
        2,
        2,
        "dynamic_batching.preserve_ordering",
        "priority_levels is 2",
    ),
    (
        "dynamic_batching { preserve_ordering: true\n"
        " default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1 } }",
        2,
        2,
        "dynamic_batching.default_queue_policy",
        "cannot stand beside preserve_ordering",
    ),
    ('instance_group { rate_limiter { resources { name: "R" } } }', 1, 33,
     "instance_group[0].rate_limiter.resources[0].count", "is 0, must be at least 1"),
    ("instance_group { rate_limiter { resources { count: 1 } } }", 1, 33,
     "instance_group[0].rate_limiter.resources[0].name", "is missing"),
    ('instance_group { rate_limiter { resources [ { name: "R" count: 1 }, { name: "R" } ] } }', 1, 71,
     "instance_group[0].rate_limiter.resources[1].name", "is listed already"),
    ('model_warmup { name: "w" inputs { key: "x" value { zero_data: true } } }', 1, 26,
     "model_warmup[0].inputs", "'x' has no data_type"),
    ('model_warmup { name: "w" inputs { key: "x" value { data_type: TYPE_FP32 } } }', 1, 26,
     "model_warmup[0].inputs", "must say zero_data, random_data or input_data_file"),
    ('model_warmup { name: "w" inputs { key: "x" value { data_type: TYPE_FP32 dims: -1 zero_data: true } } }',
     1, 26, "model_warmup[0].inputs", "has dims [-1], each must be at least 1"),
    ('model_warmup { name: "w" inputs { key: "x" value { data_type: TYPE_FP32 input_data_file: "../x" } } }',
     1, 26, "model_warmup[0].inputs", "must be a path beneath warmup"),
    ('parameters { key: "latency_target_ms" value { string_value: "soon" } }', 1, 1, "parameters",
     "latency_target_ms 'soon', must be a positive number of milliseconds"),
    ('parameters { key: "hedge_after_ms" value { string_value: "-5" } }', 1, 1, "parameters",
     "hedge_after_ms '-5', must be a positive number of milliseconds"),
    ('parameters { key: "latency_target_ms" value { string_value: "0" } }', 1, 1, "parameters", "positive"),
    ('parameters { key: "latency_target_ms" value { string_value: "1e3" } }', 1, 1, "parameters", "positive"),
    ('parameters { key: "scheduling_weight" value { string_value: "-1" } }', 1, 1, "parameters",
     "scheduling_weight '-1', must be a positive number"),
    ('default_model_filename: "../x.onnx"', 1, 1, "default_model_filename", "beneath the model's own folder"),
    ('default_model_filename: "/x.onnx"', 1, 1, "default_model_filename", "beneath"),
    ('output { label_filename: "a/../b" name: "y" data_type: TYPE_FP32 dims: 1 }', 1, 10,
     "output[0].label_filename", "beneath"),
    ('metric_tags { key: "a b" value: "c" }', 1, 1, "metric_tags", "'a b'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "field", "part"), BAD, ids=[bad[0][:40] for bad in BAD])
def test_every_refusal_names_file_line_and_field(text: str, line: int, column: int, field: str, part: str):
    with pytest.raises(ConfigInvalid) as refused:
        read_text(text.encode(), "m", "m/config.pbtxt")
    error = refused.value
    assert (error.file, error.line, error.column, error.field) == ("m/config.pbtxt", line, column, field)
    assert part in error.sentence
    assert str(error) == f"m/config.pbtxt:{line}:{column}: {field}: {error.sentence}"


def test_bytes_that_are_no_text_are_refused_with_their_line():
    with pytest.raises(ConfigInvalid, match=r"m/config\.pbtxt:2: is not UTF-8 text"):
        read_text(b'name: "m"\n\xff\xfe', "m", "m/config.pbtxt")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", r"config of the load request:1:2: is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "is not a JSON object"),
        ('{"max_batch_sise": 1}', "max_batch_sise: there is no field .* did you mean 'max_batch_size'"),
        ('{"input": [{"dtype": 1}]}', r"input\[0\]\.dtype: there is no field"),
        ('{"input": [{"data_type": "FP32"}]}', r"input\[0\]\.data_type: 'FP32' .* did you mean 'TYPE_FP32'"),
        ('{"input": {}}', "input: repeated field input must be in"),
        ('{"max_batch_size": 1.5}', "max_batch_size: Couldn't parse integer: 1.5"),
        ('{"parameters": {"a": "b"}}', r"parameters"),
        ('{"dynamic_batching": {}, "sequence_batching": {}}', "scheduling_choice: .* choose one"),
        ('{"max_batch_size": -1}', "max_batch_size: is -1"),
        (
            '{"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["0"]}]}',
            r"input\[0\]\.dims\[0\]: is 0",
        ),
    ],
)
def test_json_is_refused_by_the_same_rules_with_its_field(text: str, said: str):
    with pytest.raises(ConfigInvalid, match=said):
        read_json(text, "m")


@pytest.mark.parametrize("text", ["", "5", "[1]", '"x"', "null", '{"input": 5}', "{" * 100_000, '{"a": 1}'])
def test_tensors_of_the_model_file_that_cannot_be_read_are_refused(text: str):
    config = json.dumps({"parameters": {"tercet.model_file": {"string_value": text}}})
    with pytest.raises(ConfigInvalid, match=r"parameters: has 'tercet.model_file', which is no"):
        read_json(config, "m")


def test_the_tensors_of_the_model_file_stand_in_for_those_that_clients_see():
    text = """
    max_batch_size: 8
    input { name: "IMAGE" data_type: TYPE_STRING dims: [ 1 ] }
    output { name: "y" data_type: TYPE_FP32 dims: [ 3 ] }
    parameters { key: "tercet.model_file" value { string_value:
      '{"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["2"]}]}' } }
    """
    config = read_text(text.encode(), "m", "m/config.pbtxt").config
    assert config.inputs == (TensorConfig(name="x", datatype="FP32", dims=(2,)),)
    assert config.outputs == (TensorConfig(name="y", datatype="FP32", dims=(3,)),)
    assert config.parameters == {}


def test_long_integers_of_json_may_be_strings():
    text = '{"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1", 3]}]}'
    assert read_json(text, "m").config.inputs[0].dims == (-1, 3)


WORDS = st.text(alphabet="abcXYZ_0189 \"'\\\n{}#é", min_size=1, max_size=12)
SIZES = st.lists(st.one_of(st.just(-1), st.integers(1, 2**40)), min_size=1, max_size=4)
LONG = st.integers(0, 2**64 - 1)


@st.composite
def configurations(draw: st.DrawFn) -> pb.ModelConfig:
    config = pb.ModelConfig(name="m", max_batch_size=draw(st.integers(0, 2**31 - 1)))
    config.platform = draw(st.sampled_from(["", "onnxruntime_onnx", "pytorch_libtorch", "python"]))
    for name in draw(st.lists(WORDS, unique=True, max_size=3)):
        config.input.add(
            name=name,
            data_type=draw(st.sampled_from(pb.DataType.values()[1:])),
            dims=draw(SIZES),
            optional=draw(st.booleans()),
        )
    for name in draw(st.lists(WORDS, unique=True, max_size=3)):
        output = config.output.add(name=name, data_type=pb.TYPE_FP32, dims=draw(SIZES))
        if draw(st.booleans()):
            output.reshape.shape[:] = list(reversed(output.dims))
    if draw(st.booleans()):
        config.dynamic_batching.max_queue_delay_microseconds = draw(LONG)
        config.dynamic_batching.priority_queue_policy[draw(LONG)].max_queue_size = draw(
            st.integers(0, 2**32 - 1)
        )
    for key, value in draw(st.dictionaries(WORDS, WORDS, max_size=3)).items():
        config.parameters[key].string_value = value
    return config


@given(configurations(), st.booleans())
def test_a_configuration_survives_being_written_and_read(config: pb.ModelConfig, one_line: bool):
    text = text_format.MessageToString(config, as_one_line=one_line, as_utf8=True)
    reading = read_text(text.encode(), "m", "f")
    again = read_json(json.dumps(shown(reading)), "m")
    assert again.config.declared == reading.config.declared
    assert [tuple(tensor.dims) for tensor in config.input] == [
        tensor.dims for tensor in reading.config.inputs
    ]
    assert {key: value.string_value for key, value in config.parameters.items()} == reading.config.parameters
    expected = config.max_batch_size if reading.places.wrote("max_batch_size") else None
    assert reading.config.max_batch_size == expected
