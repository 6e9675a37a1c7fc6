from hypothesis import given
from hypothesis import strategies as st

from protos import inference_pb2 as pb
from protos.json_values import json_values
from server.tiers.statistics import summed

COUNTS = st.integers(0, 1000)
SPANS = st.builds(pb.StatisticDuration, count=COUNTS, ns=COUNTS)
VERSIONS = st.builds(
    pb.ModelStatistics,
    name=st.sampled_from("ab"),
    version=st.sampled_from(["1", "10", "2"]),
    last_inference=COUNTS,
    inference_count=COUNTS,
    execution_count=COUNTS,
    inference_stats=st.builds(pb.InferStatistics, success=SPANS, fail=SPANS, queue=SPANS),
    batch_stats=st.lists(
        st.builds(pb.InferBatchStatistics, batch_size=st.integers(1, 3), compute_infer=SPANS),
        unique_by=lambda runs: runs.batch_size,
        max_size=2,
    ),
    memory_usage=st.lists(
        st.builds(pb.MemoryUsage, type=st.just("CPU"), id=st.integers(0, 1), byte_size=COUNTS),
        unique_by=lambda usage: usage.id,
        max_size=2,
    ),
)
PROCESSES = st.builds(
    lambda versions: pb.ModelStatisticsResponse(model_stats=versions),
    st.lists(VERSIONS, unique_by=lambda each: (each.name, each.version), max_size=2),
)


def of(response, name, version):
    return [each for each in response.model_stats if (each.name, each.version) == (name, version)]


@given(st.lists(PROCESSES, max_size=3))
def test_every_count_is_that_of_all_processes_together(parts):
    total = summed(parts)
    for name, version in {(each.name, each.version) for part in parts for each in part.model_stats}:
        counted = [
            each
            for part in parts
            for each in part.model_stats
            if (each.name, each.version) == (name, version)
        ]
        (one,) = [each for each in total.model_stats if (each.name, each.version) == (name, version)]
        assert one.inference_count == sum(each.inference_count for each in counted)
        assert one.inference_stats.queue.ns == sum(each.inference_stats.queue.ns for each in counted)
        assert one.last_inference == max(each.last_inference for each in counted)
        for size in (1, 2, 3):
            runs = [runs for each in counted for runs in each.batch_stats if runs.batch_size == size]
            mine = [runs for runs in one.batch_stats if runs.batch_size == size]
            assert len(mine) == (1 if runs else 0)
            assert sum(each.compute_infer.count for each in mine) == sum(
                each.compute_infer.count for each in runs
            )
        held = [usage.byte_size for each in counted for usage in each.memory_usage]
        assert sum(usage.byte_size for usage in one.memory_usage) == sum(held)


@given(st.lists(PROCESSES, max_size=3), st.randoms())
def test_the_order_in_which_processes_answer_makes_no_difference(parts, random):
    shuffled = list(parts)
    random.shuffle(shuffled)
    told, again = json_values(summed(parts)), json_values(summed(shuffled))
    for each in (*told["model_stats"], *again["model_stats"]):
        each["memory_usage"].sort(key=lambda usage: usage["id"])
    assert told == again


def test_versions_are_in_the_order_of_their_numbers():
    parts = [
        pb.ModelStatisticsResponse(model_stats=[pb.ModelStatistics(name="a", version=version)])
        for version in ("10", "9")
    ]
    assert [each.version for each in summed(parts).model_stats] == ["9", "10"]
