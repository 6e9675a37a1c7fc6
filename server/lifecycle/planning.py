"""From what is configured of a model to how its requests wait, leave and run. Pure."""

import math

from server.domain.configuration import ModelConfig, QueuePolicy, TimeoutAction, policy_of
from server.domain.signature import Signature
from server.domain.tensors import DATATYPES, VARIABLE, TensorSpec
from server.scheduling.plan import Plan
from server.scheduling.queue import Level
from server.scheduling.rule import BatchRule


def plan_of(
    config: ModelConfig,
    predicts: Signature,
    *,
    max_queue_size: int,
    max_queue_bytes: int,
    fair_clients: bool = False,
) -> Plan:
    """`max_queue_size` and `max_queue_bytes` are the server's bounds, where the configuration has none."""
    rows = predicts.max_batch_size
    dynamic = config.dynamic_batching
    rule = None
    levels: tuple[Level, ...] = (Level(max_size=max_queue_size),)
    if dynamic is not None:
        levels = tuple(
            _level(policy_of(dynamic, level), max_queue_size)
            for level in range(1, max(1, dynamic.priority_levels) + 1)
        )
        if rows:
            rule = BatchRule(
                max_batch_size=rows,
                max_queue_delay_us=dynamic.max_queue_delay_microseconds,
                preferred_batch_sizes=dynamic.preferred_batch_size,
            )
    return Plan(
        batches=rows > 0,
        rule=rule,
        levels=levels,
        default_level=dynamic.default_priority_level or 1 if dynamic is not None else 1,
        max_queue_bytes=max_queue_bytes,
        row_bytes=sum(row_bytes(spec, batches=rows > 0) for spec in predicts.inputs)
        if not predicts.shapes_vary and all(DATATYPES[spec.datatype].itemsize for spec in predicts.inputs)
        else 0,
        request_rows=max(1, rows),
        fair_clients=fair_clients,
        preserve_ordering=dynamic is not None and dynamic.preserve_ordering,
    )


def row_bytes(spec: TensorSpec, *, batches: bool) -> int:
    """Of one row of an input whose sizes are all known; of the whole where there are no rows."""
    sizes = spec.shape[1:] if batches else spec.shape
    return DATATYPES[spec.datatype].itemsize * math.prod(size for size in sizes if size != VARIABLE)


def _level(policy: QueuePolicy, max_queue_size: int) -> Level:
    return Level(
        max_size=policy.max_queue_size or max_queue_size,
        timeout_ns=policy.default_timeout_microseconds * 1000,
        delays=policy.timeout_action is TimeoutAction.DELAY,
    )
