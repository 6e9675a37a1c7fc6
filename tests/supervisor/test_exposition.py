from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from server.supervisor.exposition import joined
from server.supervisor.plan import Role, Seat

FIRST, SECOND = Seat(Role.GATEWAY, 0), Seat(Role.PREDICT, 1)
NAMES = st.text(max_size=8)


def page(models: dict[str, float], bare: float) -> str:
    registry = CollectorRegistry()
    runs = Counter("runs", "Runs of a {model}", ["model"], registry=registry)
    times = Histogram("seconds", "Of a run", ["model"], registry=registry, buckets=(1,))
    for model, count in models.items():
        runs.labels(model).inc(count)
        times.labels(model).observe(count)
    Gauge("waiting", "Now", registry=registry).set(bare)
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@settings(max_examples=40)
@given(
    first=st.dictionaries(NAMES, st.integers(0, 9), max_size=3),
    second=st.dictionaries(NAMES, st.integers(0, 9), max_size=3),
)
def test_every_sample_of_every_process_is_there_with_its_process(first, second):
    pages = {FIRST: page(first, 1), SECOND: page(second, 2)}
    expected = {
        (name, labels | {("role", str(seat.role)), ("process", str(seat.number))}): value
        for seat, each in pages.items()
        for (name, labels), value in samples(each).items()
    }
    assert samples(joined(pages)) == expected


def test_what_is_said_about_a_metric_is_said_once_and_its_samples_stand_together():
    lines = joined({FIRST: page({"a": 1}, 1), SECOND: page({"b": 2}, 2)}).splitlines()
    assert lines.count("# TYPE seconds histogram") == 1
    at = [
        number
        for number, line in enumerate(lines)
        if line.startswith(("seconds_bucket", "seconds_count", "seconds_sum"))
    ]
    assert at == list(range(at[0], at[0] + len(at)))


def test_what_is_no_metric_is_left_out():
    assert joined({FIRST: "not found\n\n# a remark\nasked 1\n"}) == 'asked{role="gateway",process="0"} 1\n'
