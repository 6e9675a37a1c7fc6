"""Which fields of a configuration are acted on, and which are understood and left alone so far."""

from typing import Any

from protos import model_config_pb2 as pb

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
        "instance_group.rate_limiter",
        "default_model_filename",
        "metric_tags",
        "parameters",
        "model_warmup",
        "dynamic_batching.preferred_batch_size",
        "dynamic_batching.max_queue_delay_microseconds",
        "dynamic_batching.preserve_ordering",
        "dynamic_batching.priority_levels",
        "dynamic_batching.default_priority_level",
        "dynamic_batching.default_queue_policy",
        "dynamic_batching.priority_queue_policy",
        "optimization.cuda.graphs",
        "optimization.cuda.graph_spec.batch_size",
        "ensemble_scheduling.step.model_name",
        "ensemble_scheduling.step.model_version",
        "ensemble_scheduling.step.input_map",
        "ensemble_scheduling.step.output_map",
        "ensemble_scheduling.max_inflight_requests",
        "sequence_batching",
        "model_transaction_policy.decoupled",
    }
)
"""What is acted on, is a description only, or keeps the whole model from being served, which is told so.

A message is meant with all that is in it. A field that is not here is one that nothing acts on yet: a new one
of the .proto, too.
"""

_PARTLY_READ = frozenset(field[:dot] for field in READ for dot, letter in enumerate(field) if letter == ".")


def unread_fields(config: pb.ModelConfig) -> tuple[str, ...]:
    """The fields that the operator wrote and that nothing acts on yet, such as response_cache; sorted."""
    return tuple(sorted(_unread(config, "")))


def _unread(message: Any, prefix: str) -> set[str]:
    found: set[str] = set()
    for field, value in message.ListFields():
        name = prefix + field.name
        if name in _PARTLY_READ:
            for part in value if field.is_repeated else [value]:
                found |= _unread(part, f"{name}.")
        elif name not in READ:
            found.add(name)
    return found
