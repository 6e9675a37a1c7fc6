"""A configuration as JSON values, as Triton's clients expect to read it.

Names as in the .proto; every scalar, list and map is there, be it with its default; enums by name;
64-bit integers as numbers, which protobuf's own JSON writes as strings.
"""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict

from protos import model_config_pb2 as pb
from protos.pool import POOL

MODEL_CONFIG: Descriptor = POOL.FindMessageTypeByName("inference.ModelConfig")

_LONG = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})

READ = frozenset(
    {
        "name",
        "platform",
        "backend",
        "max_batch_size",
        "input.name",
        "input.data_type",
        "input.format",
        "input.dims",
        "input.reshape",
        "input.optional",
        "output.name",
        "output.data_type",
        "output.dims",
        "output.reshape",
        "output.label_filename",
        "version_policy",
        "instance_group.name",
        "instance_group.kind",
        "instance_group.count",
        "instance_group.gpus",
        "default_model_filename",
        "metric_tags",
        "parameters",
        "dynamic_batching.preferred_batch_size",
        "dynamic_batching.max_queue_delay_microseconds",
        "dynamic_batching.preserve_ordering",
        "dynamic_batching.default_queue_policy",
    }
)
"""What is acted on, or is a description only; a message is meant with all that is in it."""

_PARTLY_READ = frozenset(field.rpartition(".")[0] for field in READ) - {""}


def declared(config: pb.ModelConfig) -> dict[str, Any]:
    """The whole configuration, field for field."""
    values: dict[str, Any] = MessageToDict(
        config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _with_numbers(values, MODEL_CONFIG)


def unread_fields(config: pb.ModelConfig) -> tuple[str, ...]:
    """The fields that the operator wrote and that nothing acts on yet, such as model_warmup; sorted."""
    unread = set()
    for field, value in config.ListFields():
        if field.name in _PARTLY_READ:
            for part in value if field.is_repeated else [value]:
                names = {f"{field.name}.{inner.name}" for inner, _ in part.ListFields()}
                unread |= names - READ
        elif field.name not in READ:
            unread.add(field.name)
    return tuple(sorted(unread))


def _with_numbers(values: dict[str, Any], message: Descriptor) -> dict[str, Any]:
    return {name: _numbered(value, message.fields_by_name[name]) for name, value in values.items()}


def _numbered(value: Any, field: FieldDescriptor) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of_value = field.message_type.fields_by_name["value"]
        return {key: _numbered(inner, of_value) for key, inner in value.items()}
    if isinstance(value, list):
        return [_one(element, field) for element in value]
    return _one(value, field)


def _one(value: Any, field: FieldDescriptor) -> Any:
    if field.message_type is not None:
        return _with_numbers(value, field.message_type)
    return int(value) if field.cpp_type in _LONG else value
