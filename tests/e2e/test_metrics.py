"""The metrics port says what the statistics say, by Triton's names; our own histograms agree with both."""

from typing import Any

import httpx
import pytest

from tests.e2e.scrape import metric, scrape
from tests.server_process import Server

COUNTERS = {
    "nv_inference_request_success": lambda told: told["inference_stats"]["success"]["count"],
    "nv_inference_count": lambda told: told["inference_count"],
    "nv_inference_exec_count": lambda told: told["execution_count"],
    "nv_inference_request_duration_us": lambda told: microseconds(told, "success", "fail"),
    "nv_inference_queue_duration_us": lambda told: microseconds(told, "queue"),
    "nv_inference_compute_input_duration_us": lambda told: microseconds(told, "compute_input"),
    "nv_inference_compute_infer_duration_us": lambda told: microseconds(told, "compute_infer"),
    "nv_inference_compute_output_duration_us": lambda told: microseconds(told, "compute_output"),
}
"""Metric -> what Triton's statistics say of the same."""

OCCASIONS = {
    "tercet_request_duration_seconds": lambda told: told["inference_stats"]["success"]["count"],
    "tercet_queue_duration_seconds": lambda told: told["inference_stats"]["queue"]["count"],
    "tercet_compute_duration_seconds": lambda told: told["inference_stats"]["compute_infer"]["count"],
    "tercet_batch_rows": lambda told: told["execution_count"],
}
"""Histogram -> how often the statistics say that something happened."""


def microseconds(told: dict[str, Any], *spans: str) -> int:
    whole: int = sum(told["inference_stats"][span]["ns"] for span in spans) // 1000
    return whole


def ask(workshop: Server, model: str, *rows: float, status: int = 200) -> None:
    tensor = {"name": "x", "shape": [len(rows), 1], "datatype": "FP32", "data": rows}
    answer = workshop.client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
    assert answer.status_code == status


@pytest.fixture(scope="module", autouse=True)
def _traffic(workshop: Server) -> None:
    """Of every kind, and over before a test looks."""
    for rows in ([1.0], [1.0, 2.0], [1.0, 2.0, 3.0]):
        for model in ("double", "tagged", "picky"):
            ask(workshop, model, *rows)
    ask(workshop, "picky", -1, status=400)
    ask(workshop, "picky", 5, status=500)


@pytest.fixture
def told(workshop: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = workshop.client.get("/v2/models/stats").json()["model_stats"]
    return found


def histogram(workshop: Server, name: str, model: str) -> dict[float, float]:
    """Upper bound -> how many were at most so large."""
    return {
        float(labels["le"]): value
        for found, labels, value in scrape(workshop)
        if found == f"{name}_bucket" and labels["model"] == model
    }


@pytest.mark.parametrize("name", COUNTERS)
def test_a_counter_of_triton_is_there_for_every_version_and_agrees_with_the_statistics(
    workshop: Server, told: list[dict[str, Any]], name: str
):
    assert len(told) >= 7
    assert COUNTERS[name](next(one for one in told if one["name"] == "double")) > 0
    for one in told:
        found = metric(workshop, name, model=one["name"], version=one["version"])
        assert found == COUNTERS[name](one), one["name"]


def test_failures_are_counted_by_tritons_reasons(workshop: Server, told: list[dict[str, Any]]):
    for one in told:
        by_reason = {
            labels["reason"]: value
            for name, labels, value in scrape(workshop)
            if name == "nv_inference_request_failure" and labels["model"] == one["name"]
        }
        assert by_reason.keys() == {"REJECTED", "CANCELED", "BACKEND", "OTHER"}
        assert sum(by_reason.values()) == one["inference_stats"]["fail"]["count"], one["name"]


@pytest.mark.parametrize("name", OCCASIONS)
def test_a_histogram_counts_every_occasion_once_and_its_buckets_add_up(
    workshop: Server, told: list[dict[str, Any]], name: str
):
    for one in told:
        buckets = histogram(workshop, name, one["name"])
        assert list(buckets) == sorted(buckets)
        assert list(buckets.values()) == sorted(buckets.values())
        whole = metric(workshop, f"{name}_count", model=one["name"])
        assert buckets[float("inf")] == whole == OCCASIONS[name](one), one["name"]


def test_the_rows_of_all_runs_add_up_to_the_rows_inferred(workshop: Server, told: list[dict[str, Any]]):
    for one in told:
        assert metric(workshop, "tercet_batch_rows_sum", model=one["name"]) == one["inference_count"]


def test_batches_are_counted_under_their_sizes(workshop: Server):
    before = histogram(workshop, "tercet_batch_rows", "tagged")
    ask(workshop, "tagged", 1, 2, 3)
    after = histogram(workshop, "tercet_batch_rows", "tagged")
    assert [after[bound] - before[bound] for bound in (1, 2, 4, float("inf"))] == [0, 0, 1, 1]


def test_a_models_own_tags_are_labels_of_all_its_metrics_and_of_no_other(workshop: Server):
    samples = scrape(workshop)
    own = [labels for _, labels, _ in samples if labels.get("model") == "tagged"]
    assert len(own) > 50
    assert all(labels["_team"] == "kitchen" for labels in own)
    assert not [labels for _, labels, _ in samples if "_team" in labels and labels["model"] != "tagged"]


def test_the_labels_are_tritons(workshop: Server):
    for name, labels, _ in scrape(workshop):
        if name.startswith("nv_inference") and labels["model"] == "double":
            assert labels.keys() - {"reason"} == {"model", "version"}


def test_the_time_in_a_versions_own_code_is_shown_by_stage(workshop: Server):
    stages = ("pre", "post")
    before = {stage: spent(workshop, stage) for stage in stages}
    ask(workshop, "picky", 1)
    ask(workshop, "picky", 2)
    assert {stage: spent(workshop, stage) - before[stage] for stage in stages} == {"pre": 2, "post": 2}


def spent(workshop: Server, stage: str) -> float:
    return metric(workshop, "tercet_stage_duration_seconds_count", model="picky", stage=stage)


def test_nobody_is_pending_when_all_are_answered(workshop: Server, told: list[dict[str, Any]]):
    for one in told:
        assert metric(workshop, "nv_inference_pending_request_count", model=one["name"]) == 0
        assert metric(workshop, "nv_model_load_duration_secs", model=one["name"]) > 0


def test_counters_keep_tritons_names_in_the_text_itself(workshop: Server):
    answer = httpx.get(f"http://{workshop.metrics}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name in (*COUNTERS, "nv_inference_request_failure"):
        assert f"# TYPE {name} counter\n" in answer.text
    for name in (
        "nv_inference_pending_request_count",
        "nv_cpu_memory_total_bytes",
        "nv_cpu_memory_used_bytes",
    ):
        assert f"# TYPE {name} gauge\n" in answer.text
    for name in OCCASIONS:
        assert f"# TYPE {name} histogram\n" in answer.text


def test_the_metrics_port_has_nothing_else(workshop: Server):
    answer = httpx.get(f"http://{workshop.metrics}/v2")
    assert (answer.status_code, answer.json()) == (404, {"error": "the metrics are at /metrics"})
