"""Statistics of several processes as if one had counted them all: Triton's fields, each added up. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from protos import inference_pb2 as pb

MOMENTS = frozenset({"last_inference"})
"""Fields that are a point in time: the latest counts."""

KEYS: Mapping[str, Sequence[str]] = {
    "ModelStatistics": ("name", "version"),
    "InferBatchStatistics": ("batch_size",),
    "MemoryUsage": ("type", "id"),
}
"""Entry of a list -> the fields by which two of them mean the same."""


def summed(parts: Iterable[pb.ModelStatisticsResponse]) -> pb.ModelStatisticsResponse:
    """What all of them have counted together, by model, version and batch size."""
    total = pb.ModelStatisticsResponse()
    for part in parts:
        _add(total, part)
    total.model_stats.sort(key=lambda each: (each.name, int(each.version)))
    for version in total.model_stats:
        version.batch_stats.sort(key=lambda runs: runs.batch_size)
    return total


def _add(total: Any, part: Any) -> None:
    """Add one message to another of its kind."""
    keys = KEYS.get(part.DESCRIPTOR.name, ())
    for field, value in part.ListFields():
        sum_so_far = getattr(total, field.name)
        if field.name in keys:
            continue
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            added = max(sum_so_far, value) if field.name in MOMENTS else sum_so_far + value
            setattr(total, field.name, added)
        elif field.message_type.GetOptions().map_entry:
            for key in value:
                _add(sum_so_far[key], value[key])
        elif field.message_type.name in KEYS:
            for entry in value:
                _add(_same(sum_so_far, entry), entry)
        else:
            sum_so_far.SetInParent()  # a duration of nothing is told, too
            _add(sum_so_far, value)


def _same(entries: Any, entry: Any) -> Any:
    """The one that means the same, made if there is none yet."""
    keys = {key: getattr(entry, key) for key in KEYS[entry.DESCRIPTOR.name]}
    for each in entries:
        if all(getattr(each, key) == value for key, value in keys.items()):
            return each
    return entries.add(**keys)
