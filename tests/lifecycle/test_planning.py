"""From what is configured to how requests wait, leave and run."""

from server.domain.configuration import DynamicBatching, ModelConfig, QueuePolicy, TimeoutAction
from server.domain.signature import Signature
from server.domain.tensors import TensorSpec
from server.lifecycle.planning import plan_of
from server.scheduling.plan import Plan
from server.scheduling.queue import Level
from server.scheduling.rule import BatchRule


def planned(dynamic: DynamicBatching | None = None, rows: int = 8, shape=(-1, 4), datatype="FP32") -> Plan:
    signature = Signature("m", [TensorSpec("x", datatype, shape)], [], rows)
    config = ModelConfig(name="m", max_batch_size=rows, dynamic_batching=dynamic)
    return plan_of(config, signature, max_queue_size=100, max_queue_bytes=1000)


def test_without_dynamic_batching_requests_run_alone_in_a_queue_bounded_by_the_server():
    assert planned() == Plan(
        batches=True,
        rule=None,
        levels=(Level(max_size=100),),
        max_queue_bytes=1000,
        row_bytes=16,
        request_rows=8,
    )


def test_the_rule_is_that_of_the_configuration():
    dynamic = DynamicBatching(preferred_batch_size=(4,), max_queue_delay_microseconds=7)
    assert planned(dynamic).rule == BatchRule(
        max_batch_size=8, max_queue_delay_us=7, preferred_batch_sizes=(4,)
    )


def test_a_model_without_a_batch_dimension_has_a_queue_policy_all_the_same():
    dynamic = DynamicBatching(default_queue_policy=QueuePolicy(max_queue_size=2))
    plan = planned(dynamic, rows=0, shape=(4,))
    assert (plan.batches, plan.rule, plan.levels, plan.row_bytes) == (False, None, (Level(max_size=2),), 16)


def test_the_queue_policy_says_how_long_requests_wait_and_what_becomes_of_them():
    policy = QueuePolicy(timeout_action=TimeoutAction.DELAY, default_timeout_microseconds=250)
    assert planned(DynamicBatching(default_queue_policy=policy)).levels == (
        Level(max_size=100, timeout_ns=250_000, delays=True),
    )


def test_bytes_are_counted_request_by_request_where_rows_differ():
    assert planned(shape=(-1, -1)).row_bytes == 0
    assert planned(datatype="BYTES").row_bytes == 0


def test_each_priority_has_its_own_policy_or_the_default_one():
    dynamic = DynamicBatching(
        priority_levels=3,
        default_priority_level=2,
        default_queue_policy=QueuePolicy(max_queue_size=7),
        priority_queue_policy={3: QueuePolicy(max_queue_size=1)},
    )
    plan = planned(dynamic)
    assert [level.max_size for level in plan.levels] == [7, 7, 1]
    assert plan.default_level == 2
