"""Every field of Triton's configuration is known here: acted on, or named as one that nothing acts on yet."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from protos import model_config_pb2 as pb
from protos.json_values import json_values
from server.repository.configuration import MODEL_CONFIG, read_json, read_text
from server.repository.invalid import ConfigInvalid
from server.repository.unread import READ, unread_fields

EXAMPLES = Path(__file__).parent / "every_field"
"""A Triton repository in which every field of the configuration is written somewhere."""

TEXTS = {path.parent.name: path.read_text() for path in sorted(EXAMPLES.glob("*/config.pbtxt"))} | {
    "served with another configuration": (EXAMPLES / "served" / "configs" / "small.pbtxt").read_text()
}

UNUSED_OF_SERVED = (
    "batch_input",
    "batch_output",
    "cc_model_filenames",
    "input.allow_ragged_batch",
    "input.is_non_linear_format_io",
    "input.is_shape_tensor",
    "instance_group.host_policy",
    "instance_group.passive",
    "instance_group.profile",
    "instance_group.secondary_devices",
    "model_metrics",
    "model_operations",
    "model_repository_agents",
    "optimization.cuda.busy_wait_events",
    "optimization.cuda.graph_spec.graph_lower_bound",
    "optimization.cuda.graph_spec.input",
    "optimization.cuda.output_copy_stream",
    "optimization.eager_batching",
    "optimization.execution_accelerators",
    "optimization.gather_kernel_buffer_threshold",
    "optimization.graph",
    "optimization.input_pinned_memory",
    "optimization.output_pinned_memory",
    "optimization.priority",
    "output.is_non_linear_format_io",
    "output.is_shape_tensor",
    "response_cache",
    "runtime",
)

ONE_VALUE = {"batch_output.kind", "instance_group.secondary_devices.kind"}
"""Enums that have a default and nothing else: what is written of them cannot be told from what is not."""

Steps = tuple[FieldDescriptor, ...]


def _inner(field: FieldDescriptor) -> Descriptor | None:
    """The message that a field, or each value of a map, holds."""
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return message.fields_by_name["value"].message_type
    return message


def _leaves(message: Descriptor, above: Steps = ()) -> Iterator[Steps]:
    """Every field that holds a value, as the steps that lead to it; a message without fields is one too."""
    for field in message.fields:
        inner = _inner(field)
        if inner is None or not inner.fields:
            yield (*above, field)
        else:
            yield from _leaves(inner, (*above, field))


def _path(steps: Steps) -> str:
    return ".".join(field.name for field in steps)


LEAVES = {_path(steps): steps for steps in _leaves(MODEL_CONFIG)}


def _with_only(steps: Steps) -> pb.ModelConfig:
    """A configuration in which just this field is written, with a value that is not its default."""
    config = pb.ModelConfig()
    message = config
    for field in steps:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if is_map:
            entries = getattr(message, field.name)
            key = "k" if field.message_type.fields_by_name["key"].type == field.TYPE_STRING else 1
            if _inner(field) is None:
                entries[key] = "v"
            else:
                message = entries[key]
        elif field.message_type is not None:
            value = getattr(message, field.name)
            message = value.add() if field.is_repeated else value
            message.SetInParent()
        else:
            value = _other_than_default(field)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
    return config


def _other_than_default(field: FieldDescriptor) -> object:
    if field.enum_type is not None:
        return max(field.enum_type.values_by_number)
    return "v" if field.type == field.TYPE_STRING else True if field.type == field.TYPE_BOOL else 1


def _written(message: object, prefix: str = "") -> Iterator[str]:
    """The paths of what a message says, as in `LEAVES`."""
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        path, inner = prefix + field.name, _inner(field)
        if inner is None or not inner.fields:
            yield path
            continue
        is_map = field.message_type.GetOptions().map_entry
        for part in value.values() if is_map else value if field.is_repeated else [value]:
            yield from _written(part, f"{path}.")


@pytest.mark.parametrize("path", LEAVES)
def test_a_field_is_acted_on_or_is_named_and_never_passed_over(path: str):
    named = unread_fields(_with_only(LEAVES[path]))
    beginnings = {path[: at + len(step)] for at, step in _beginnings(path)}
    assert (named == ()) == bool(beginnings & READ)
    assert set(named) <= beginnings


def _beginnings(path: str) -> Iterator[tuple[int, str]]:
    at = 0
    for step in path.split("."):
        yield at, step
        at += len(step) + 1


def test_whatever_is_said_to_be_acted_on_is_a_field():
    messages = {path[: at - 1] for path in LEAVES for at, _ in _beginnings(path) if at}
    assert LEAVES.keys() | messages >= READ


def test_the_examples_write_every_field_there_is():
    written: set[str] = set()
    for text in TEXTS.values():
        written |= set(_written(text_format.Parse(text, pb.ModelConfig())))
    assert LEAVES.keys() - written == ONE_VALUE


@pytest.mark.parametrize("name", TEXTS)
def test_every_example_is_read_and_is_the_same_as_json(name: str):
    reading = read_text(TEXTS[name].encode(), name.partition(" ")[0], f"{name}/config.pbtxt")
    declared = json_values(pb.ModelConfig.FromString(reading.config.declared))
    again = read_json(json.dumps(declared), name.partition(" ")[0])
    assert (again.config, again.unread) == (reading.config, reading.unread)


def test_of_a_model_that_is_served_everything_that_is_not_used_is_named():
    assert read_text(TEXTS["served"].encode(), "served", "f").unread == UNUSED_OF_SERVED
    for name in ("on_gpus", "sequences", "oldest_sequences"):
        assert read_text(TEXTS[name].encode(), name, "f").unread == ()
    unused_of_ensemble = read_text(TEXTS["ensemble"].encode(), "ensemble", "f").unread
    assert unused_of_ensemble == ("ensemble_scheduling.step.model_namespace",)


@pytest.mark.parametrize("message", sorted({_path(steps[:-1]) for steps in LEAVES.values()}))
def test_an_unknown_field_is_an_error_with_its_name_and_line_wherever_it_stands(message: str):
    steps = message.split(".") if message else []
    text = "# a line before it\n" + "".join(_opened(steps)) + "\nflavour: 5\n" + "}" * _depth(steps)
    with pytest.raises(ConfigInvalid, match="there is no field 'flavour'") as refused:
        read_text(text.encode(), "m", "m/config.pbtxt")
    assert refused.value.line == 3
    assert refused.value.field.endswith("flavour")


def _maps(steps: list[str]) -> Iterator[bool]:
    message = MODEL_CONFIG
    for step in steps:
        field = message.fields_by_name[step]
        yield bool(field.message_type.GetOptions().map_entry)
        message = _inner(field)


def _opened(steps: list[str]) -> Iterator[str]:
    for step, is_map in zip(steps, _maps(steps), strict=True):
        yield f"{step} {{ value {{ " if is_map else f"{step} {{ "


def _depth(steps: list[str]) -> int:
    return len(steps) + sum(_maps(steps))
