"""A message as JSON values, as Triton's clients expect to read it.

Names as in the .proto; every scalar, list and map is there, be it with its default; enums by name;
64-bit integers as numbers, which protobuf's own JSON writes as strings.
"""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict

_LONG = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})


def json_values(message: Any) -> dict[str, Any]:
    """The whole of any message of ours, field for field."""
    values: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _with_numbers(values, message.DESCRIPTOR)


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
