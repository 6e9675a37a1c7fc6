"""Which fields of a configuration are acted on, and which are understood and left alone so far."""

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
        "default_model_filename",
        "metric_tags",
        "parameters",
        "dynamic_batching.preferred_batch_size",
        "dynamic_batching.max_queue_delay_microseconds",
        "dynamic_batching.default_queue_policy",
    }
)
"""What is acted on, or is a description only; a message is meant with all that is in it."""

_PARTLY_READ = frozenset(field.rpartition(".")[0] for field in READ) - {""}


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
