"""The Prometheus text: Triton's families by their names, labels and units, and our histograms."""

import time
from math import exp

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.observe.demand import Asked, Demand
from server.observe.metrics import (
    MachineCollector,
    Measured,
    PassageCollector,
    ProcessCollector,
    TallyCollector,
    exposition,
    registry,
)
from server.observe.passages import Passages
from server.observe.run_counts import LEFT, RunCounts
from server.observe.tally import FAILURES, REFUSED, SMALL, Tally

TRITON_COUNTERS = {
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_request_duration_us",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_output_duration_us",
}
TRITON_GAUGES = {"nv_inference_pending_request_count", "nv_model_load_duration_secs"}
OWN_COUNTERS = {
    "tercet_batches_total",
    "tercet_small_batches_total",
    "tercet_requests_refused_total",
    "tercet_padding_elements_total",
    "tercet_padded_real_elements_total",
    "tercet_runtime_worker_restarts_total",
}
OWN_GAUGES = {"tercet_saturation_ratio", "tercet_queue_wait_ratio"}
OWN_HISTOGRAMS = {
    "tercet_prediction_ratio",
    "tercet_request_duration_seconds",
    "tercet_queue_duration_seconds",
    "tercet_compute_duration_seconds",
    "tercet_batch_rows",
    "tercet_stage_duration_seconds",
}


def worked() -> Tally:
    """A version that answered two requests of three rows in one run, and refused one."""
    tally = Tally(load_seconds=0.25, sums=RunCounts(inference_count=3, execution_count=1))
    tally.opens(range(4))
    tally.success.add(2, 3_000_999)
    tally.failed("REJECTED", 1_000_000)
    tally.queue.add(2, 20_000)
    tally.compute_input.add(2, 1_000)
    tally.compute_infer.add(2, 700_000)
    tally.compute_output.add(2, 2_000)
    tally.request_s.add(0.0015)
    tally.request_s.add(0.2)
    tally.rows.add(3)
    tally.stage("pre").add(0.01)
    return tally


def shown(*measured: Measured) -> str:
    return exposition(registry([TallyCollector(lambda: measured)])).decode()


def samples(text: str) -> dict[str, float]:
    """Every line that is no comment: name with labels -> value."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def types(text: str) -> dict[str, str]:
    lines = [line.split() for line in text.splitlines() if line.startswith("# TYPE")]
    return {name: kind for _, _, name, kind in lines}


def test_the_families_are_tritons_by_name_and_kind_and_ours_beside_them():
    assert types(shown(Measured("m", "1", {}, worked()))) == (
        dict.fromkeys(TRITON_COUNTERS | OWN_COUNTERS, "counter")
        | dict.fromkeys(TRITON_GAUGES | OWN_GAUGES, "gauge")
        | dict.fromkeys(OWN_HISTOGRAMS, "histogram")
    )


def test_every_sample_names_model_and_version_and_durations_are_whole_microseconds():
    values = samples(shown(Measured("m", "1", {}, worked())))
    own = '{model="m",version="1"}'
    assert {
        name: values[f"{name}{own}"]
        for name in (TRITON_COUNTERS | TRITON_GAUGES) - {"nv_inference_request_failure"}
    } == {
        "nv_inference_request_success": 2,
        "nv_inference_count": 3,
        "nv_inference_exec_count": 1,
        "nv_inference_request_duration_us": 4000,
        "nv_inference_queue_duration_us": 20,
        "nv_inference_compute_input_duration_us": 1,
        "nv_inference_compute_infer_duration_us": 700,
        "nv_inference_compute_output_duration_us": 2,
        "nv_inference_pending_request_count": 4,
        "nv_model_load_duration_secs": 0.25,
    }


def test_failures_have_every_reason_from_the_start():
    values = samples(shown(Measured("m", "1", {}, worked())))
    assert {
        reason: values[f'nv_inference_request_failure{{model="m",reason="{reason}",version="1"}}']
        for reason in FAILURES
    } == {"REJECTED": 1, "CANCELED": 0, "BACKEND": 0, "OTHER": 0}


def test_why_batches_left_and_requests_were_refused_has_every_reason_from_the_start():
    tally = worked()
    tally.left["delay"] += 2
    found = samples(shown(Measured("digits", "1", {}, tally)))
    for why in LEFT:
        name = f'tercet_batches_total{{model="digits",reason="{why}",version="1"}}'
        assert found[name] == (2 if why == "delay" else 0)
    for name, reasons in (("tercet_small_batches", SMALL), ("tercet_requests_refused", REFUSED)):
        for why in reasons:
            assert found[f'{name}_total{{model="digits",reason="{why}",version="1"}}'] == 0


def test_how_long_requests_wait_is_shown_by_itself_and_saturates_up_to_full():
    tally = worked()
    tally.pressure.note(3.0, 10, time.monotonic_ns())
    found = samples(shown(Measured("digits", "1", {}, tally)))
    assert found['tercet_queue_wait_ratio{model="digits",version="1"}'] == pytest.approx(3.0, abs=0.3)
    assert found['tercet_saturation_ratio{model="digits",version="1"}'] == 1


def test_saturation_is_demand_over_capacity_and_above_full_says_by_how_much():
    asked = [0.0]
    tally, other = worked(), worked()
    tally.of_model = Demand(lambda: Asked(asked[0], 1e9, 2), time.monotonic_ns() - 1_000_000_000)
    asked[0] = 8.0
    found = samples(shown(Measured("digits", "1", {}, tally), Measured("iris", "1", {}, other)))
    share = 1 - exp(-0.1)
    assert found['tercet_saturation_ratio{model="digits",version="1"}'] == pytest.approx(4 * share, rel=0.2)
    assert found['tercet_saturation_ratio{model="iris",version="1"}'] == 0


def test_what_padding_adds_is_counted_beside_what_it_is_added_to():
    tally = worked()
    tally.fill("length").add(real=30, added=2)
    tally.fill("length").add(real=20, added=12)
    tally.fill("rows").add(real=64, added=0)
    values = samples(shown(Measured("m", "1", {}, tally), Measured("n", "1", {}, worked())))
    assert {name: count for name, count in values.items() if "padd" in name} == {
        'tercet_padding_elements_total{model="m",padded="length",version="1"}': 14,
        'tercet_padded_real_elements_total{model="m",padded="length",version="1"}': 50,
        'tercet_padding_elements_total{model="m",padded="rows",version="1"}': 0,
        'tercet_padded_real_elements_total{model="m",padded="rows",version="1"}': 64,
    }


def test_the_metric_tags_of_a_model_are_labels_with_an_underscore_before_each_name():
    text = shown(Measured("m", "1", {"team": 'kit"chen\n'}, worked()), Measured("n", "2", {}, worked()))
    assert 'nv_inference_count{_team="kit\\"chen\\n",model="m",version="1"} 3.0' in text
    assert 'nv_inference_count{model="n",version="2"} 3.0' in text


def test_histograms_are_cumulated_and_end_in_infinity():
    values = samples(shown(Measured("m", "1", {}, worked())))
    name, own = "tercet_request_duration_seconds", 'model="m",version="1"'

    def under(bound: str) -> float:
        return values[f'{name}_bucket{{le="{bound}",{own}}}']

    assert [under(bound) for bound in ("0.001", "0.0025", "0.1", "0.25", "60.0", "+Inf")] == [
        0,
        1,
        1,
        2,
        2,
        2,
    ]
    assert values[f"{name}_count{{{own}}}"] == 2
    assert values[f"{name}_sum{{{own}}}"] == pytest.approx(0.2015)
    assert values[f'tercet_batch_rows_bucket{{le="4.0",{own}}}'] == 1


def test_each_stage_that_a_version_has_is_told_apart():
    values = samples(shown(Measured("m", "1", {}, worked())))
    assert values['tercet_stage_duration_seconds_count{model="m",stage="pre",version="1"}'] == 1
    assert not [name for name in values if 'stage="post"' in name]


def test_a_scrape_shows_the_versions_that_serve_at_that_moment():
    serving = [Measured("m", "1", {}, worked())]
    metrics = registry([TallyCollector(lambda: serving)])
    assert 'version="1"' in exposition(metrics).decode()
    serving[:] = [Measured("m", "2", {}, Tally())]
    text = exposition(metrics).decode()
    assert 'version="1"' not in text
    assert samples(text)['nv_inference_count{model="m",version="2"}'] == 0


def test_a_server_without_models_shows_the_families_empty():
    text = shown()
    assert types(text).keys() >= TRITON_COUNTERS
    assert samples(text) == {}


def test_the_text_is_what_prometheus_reads():
    families = {
        family.name for family in text_string_to_metric_families(shown(Measured("m", "1", {}, worked())))
    }
    assert families >= TRITON_GAUGES | OWN_HISTOGRAMS
    assert {name.removesuffix("_total") for name in families} >= TRITON_COUNTERS


def test_the_machines_memory_and_lost_access_lines_are_shown():
    values = samples(exposition(registry([MachineCollector(), ProcessCollector(lambda: 12)])).decode())
    assert 0 < values["nv_cpu_memory_used_bytes"] < values["nv_cpu_memory_total_bytes"]
    assert values["tercet_access_lines_dropped_total"] == 12


def test_the_use_of_the_processors_is_that_since_the_last_scrape():
    shown_by = registry([MachineCollector()])
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        pass
    values = samples(exposition(shown_by).decode())
    assert 0 < values["nv_cpu_utilization"] <= 1


def test_two_registries_in_one_process_know_nothing_of_each_other():
    first = registry([ProcessCollector(lambda: 1)])
    second = registry([ProcessCollector(lambda: 2)])
    dropped = "tercet_access_lines_dropped_total"
    assert [samples(exposition(each).decode())[dropped] for each in (first, second)] == [1, 2]


def test_how_models_came_and_went_is_told_of_those_that_something_happened_to():
    passages = Passages()
    passages.count("m", "loading")
    passages.count("m", "ready")
    passages.loaded("m", 2.0, 0.3)
    passages.count("broken", "rejected")
    found = samples(exposition(registry([PassageCollector(passages.all)])).decode())
    assert found['tercet_model_transitions_total{event="ready",model="m"}'] == 1
    assert found['tercet_model_transitions_total{event="rejected",model="broken"}'] == 1
    assert found['tercet_model_transitions_total{event="rolled_back",model="m"}'] == 0
    assert found['tercet_model_load_seconds_bucket{le="1.0",model="m"}'] == 0
    assert found['tercet_model_load_seconds_bucket{le="2.5",model="m"}'] == 1
    assert found['tercet_model_warmup_seconds_sum{model="m"}'] == 0.3
    assert not any("load_seconds" in name and "broken" in name for name in found)
