"""One trace over all processes: a request with a traceparent, and what a collector hears of it."""

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from tests.collector import Collector, Span, collecting
from tests.e2e.scrape import scrape
from tests.e2e.workshop import put, times
from tests.e2e_tiers.kitchen import furnish
from tests.server_process import Server, running
from tests.tier_processes import Tiers, in_tiers

PICKY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [1, 2]}]}
ANIMALS = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
CODE = ("queue", "compute")
COMPANY = (
    "max_batch_size: 8 dynamic_batching { preferred_batch_size: 2 max_queue_delay_microseconds: 5000000 }"
)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traced") / "models"
    furnish(folder)
    put(folder, "company", times(2, 3), COMPANY)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "models"
    put(folder, "animals", times(1, 3), "max_batch_size: 8")
    return folder


@pytest.fixture(scope="module")
def fused(
    repository: Path, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("fused") / "log"
    with running(log, repository, options=[f"--trace-otlp-endpoint={collector.url}"]) as server:
        yield server


@pytest.fixture(scope="module")
def apart(
    repository: Path, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tiers]:
    folder = tmp_path_factory.mktemp("apart")
    option = f"--trace-otlp-endpoint={collector.url}"
    with in_tiers(folder, repository, options=[option], gateway_options=[option]) as tiers:
        yield tiers


def traceparent(flags: str = "01") -> tuple[str, str, dict[str, str]]:
    """The ids of a trace and of a caller's span, and the header that says them."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, {"traceparent": f"00-{trace_id}-{span_id}-{flags}"}


def ask(server: Server, model: str, asked: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    return server.client.post(f"/v2/models/{model}/infer", json=asked, headers=headers)


def tree(spans: list[Span]) -> dict[str, str]:
    """Each span's path of names from the first of them."""
    by_id = {span.span_id: span for span in spans}

    def path(span: Span) -> str:
        parent = by_id.get(span.parent_id)
        return span.name if parent is None else f"{path(parent)} > {span.name}"

    return {path(span): span.span_id for span in spans}


def holds_its_parts(spans: list[Span]) -> bool:
    """Whether each span lies in the time of its parent."""
    by_id = {span.span_id: span for span in spans}
    return all(
        by_id[span.parent_id].began <= span.began <= span.ended <= by_id[span.parent_id].ended
        for span in spans
        if span.parent_id in by_id
    )


def paths(before: str, stage: str, *parts: str) -> set[str]:
    return {f"{before} > {stage}", *(f"{before} > {stage} > {part}" for part in parts)}


def trace(collector: Collector, trace_id: str, many: int) -> list[Span]:
    """The spans of a trace, once there are so many."""
    spans = collector.until(trace_id, many)
    assert holds_its_parts(spans)
    return spans


def test_a_request_through_four_processes_is_one_trace(apart, collector):
    trace_id, span_id, headers = traceparent()
    assert ask(apart.gateway[0], "picky", PICKY, headers).status_code == 200
    pre = "request > hop pre > tier pre"
    predict = f"{pre} > hop predict > tier predict"
    post = f"{predict} > hop post > tier post"
    expected = {
        "request",
        *("request > hop pre", pre, f"{pre} > hop predict", predict, f"{predict} > hop post", post),
        *paths(pre, "pre", "queue", "compute"),
        *paths(predict, "predict", "queue", "run", "compute"),
        *paths(post, "post", "queue", "compute"),
    }
    spans = trace(collector, trace_id, len(expected))
    assert set(tree(spans)) == expected
    assert next(span for span in spans if span.name == "request").parent_id == span_id
    assert {span.whose for span in spans} == {server.pid for server in apart.all}


def test_a_request_in_one_process_has_the_same_stages(fused, collector):
    trace_id, span_id, headers = traceparent()
    assert ask(fused, "picky", PICKY, headers).status_code == 200
    expected = {
        "request",
        *paths("request", "pre", "queue", "compute"),
        *paths("request", "predict", "queue", "run", "compute"),
        *paths("request", "post", "queue", "compute"),
    }
    spans = trace(collector, trace_id, len(expected))
    assert set(tree(spans)) == expected
    whole = next(span for span in spans if span.name == "request")
    assert (whole.parent_id, whole.whose, whole.error) == (span_id, fused.pid, "")
    assert whole.attributes["http.response.status_code"] == 200
    assert whole.attributes["tercet.model"] == "picky"


@pytest.mark.parametrize("place", ["fused", "apart"])
def test_a_trace_says_what_an_explained_answer_says(request, place, fused, apart, collector):
    server = fused if place == "fused" else apart.gateway[0]
    trace_id, _, headers = traceparent()
    answer = ask(server, "picky", {**PICKY, "parameters": {"explain": "timing"}}, headers).json()
    told = {
        key: value
        for key, value in answer["parameters"].items()
        if key.endswith((".queue_us", ".compute_us"))
    }
    spans = trace(collector, trace_id, 11 if place == "fused" else 17)
    by_id = {span.span_id: span for span in spans}
    seen = {
        f"timing.{by_id[span.parent_id].name}.{span.name}_us": (span.ended - span.began) // 1000
        for span in spans
        if span.name in CODE
    }
    assert seen == told


def test_who_does_not_ask_for_a_trace_gets_none(fused, apart, collector):
    before = len(collector.spans)
    for server in (fused, apart.gateway[0]):
        for headers in ({}, traceparent("00")[2], {"traceparent": "nonsense"}, {"traceparent": "00-0-0-01"}):
            assert ask(server, "animals", ANIMALS, headers).status_code == 200
    trace_id, _, headers = traceparent()
    ask(fused, "animals", ANIMALS, headers)
    trace(collector, trace_id, 5)
    assert {span.trace_id for span in collector.spans[before:]} == {trace_id}


@pytest.mark.parametrize("model", ["animals", "picky"])
def test_metadata_of_a_call_ask_for_a_trace(fused, apart, collector, model):
    for server in (fused, apart.gateway[0], apart.predict[0]):
        trace_id, span_id, headers = traceparent()
        with triton_grpc.InferenceServerClient(server.grpc) as client:
            width = 3 if model == "animals" else 1
            tensor = triton_grpc.InferInput("x", [1, width], "FP32")
            tensor.set_data_from_numpy(np.ones((1, width), np.float32))
            client.infer(model, [tensor], headers=headers)
        spans = collector.until(trace_id, 1, name="request")
        (whole,) = [span for span in spans if span.name == "request"]
        assert (whole.parent_id, whole.whose) == (span_id, server.pid)
        assert whole.attributes["rpc.grpc.status_code"] == 0


def test_the_steps_of_an_ensemble_are_parts_of_its_trace(fused, apart, collector):
    asked = {"inputs": [{"name": "TEXT", "datatype": "BYTES", "shape": [1, 1], "data": ["four"]}]}
    for server, first in ((fused, "pre"), (apart.gateway[0], "hop pre")):
        trace_id, _, headers = traceparent()
        assert ask(server, "chain", asked, headers).status_code == 200
        spans = collector.until(trace_id, 1, name="request")
        assert holds_its_parts(spans)
        assert {"request > step 0", f"request > step 0 > {first}", f"request > step 1 > {first}"} <= set(
            tree(spans)
        )


def test_a_refusal_is_told_where_it_happened(apart, collector):
    """The post-processing code of `picky` crashes at this one."""
    trace_id, _, headers = traceparent()
    asked = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [5]}]}
    assert ask(apart.gateway[0], "picky", asked, headers).status_code == 500
    through = {"request", "hop pre", "tier pre", "hop predict", "tier predict", "hop post", "tier post"}
    for name in through:  # each process tells its own, when it likes
        spans = collector.until(trace_id, 1, name=name)
    assert {span.name for span in spans if span.error} == through


def test_a_run_is_one_span_of_all_that_shared_it(fused, collector):
    asked = [traceparent() for _ in range(2)]
    with ThreadPoolExecutor(2) as callers:
        list(callers.map(lambda each: ask(fused, "company", ANIMALS, each[2]), asked))
    both = [collector.until(trace_id, 1, name="request") for trace_id, _, _ in asked]
    runs = [span for spans in both for span in spans if span.name == "run"]
    computed = [span for spans in both for span in spans if span.name == "compute"]
    assert len(runs) == 1
    assert runs[0].attributes["tercet.run.rows"] == 2
    assert [span.links for span in computed] == [(runs[0].span_id,)] * 2


def in_text(settings: Any) -> dict[str, Any]:
    """As HTTP has them, of either client."""
    if not isinstance(settings, dict):
        lists = {name: list(setting.value) for name, setting in settings.settings.items()}
        return {name: values if name == "trace_level" else values[0] for name, values in lists.items()}
    return settings


@pytest.mark.parametrize("protocol", [triton_http, triton_grpc], ids=["http", "grpc"])
def test_triton_clients_read_and_change_what_is_traced(fused, collector, protocol):
    at_start = {
        "trace_level": ["TIMESTAMPS"],
        "trace_rate": "0",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_file": "",
        "trace_mode": "opentelemetry",
    }
    with protocol.InferenceServerClient(fused.http if protocol is triton_http else fused.grpc) as client:

        def update(model: str | None, **settings: Any) -> dict[str, Any]:
            return in_text(client.update_trace_settings(model_name=model, settings=settings))

        def traced() -> int:
            """Of four requests, as far as they are told of before one that asks for it."""
            before = len({span.trace_id for span in collector.spans if span.whose == fused.pid})
            for _ in range(4):
                ask(fused, "animals", ANIMALS)
            trace_id, _, headers = traceparent()
            ask(fused, "picky", PICKY, headers)
            collector.until(trace_id, 1, name="request")
            return len({span.trace_id for span in collector.spans if span.whose == fused.pid}) - before - 1

        assert "trace" in fused.client.get("/v2").json()["extensions"]
        assert in_text(client.get_trace_settings()) == at_start
        assert traced() == 0
        assert update(None, trace_rate="2") == {**at_start, "trace_rate": "2"}
        assert traced() == 2
        assert update("animals", trace_rate="1", trace_count="3")["trace_count"] == "3"
        assert traced() == 3
        assert in_text(client.get_trace_settings(model_name="animals"))["trace_count"] == "0"
        assert in_text(client.get_trace_settings())["trace_count"] == "-1"
        assert update("animals", trace_level=["OFF"], trace_count="-1")["trace_level"] == ["OFF"]
        assert traced() == 0
        assert update("animals", trace_level=None, trace_rate=None, trace_count=None)["trace_rate"] == "2"
        assert traced() == 2
        assert update(None, trace_rate=None) == at_start
        with pytest.raises(InferenceServerException, match="Request for unknown model"):
            client.get_trace_settings(model_name="nobody")
        with pytest.raises(InferenceServerException, match="location can not be updated"):
            update(None, trace_file="x")


def spans_counted(server: Server) -> dict[str, float]:
    return {
        labels["outcome"]: value
        for name, labels, value in scrape(server)
        if name == "tercet_trace_spans_total"
    }


def test_every_so_many_th_is_traced_and_nobody_waits_for_the_collector(small, tmp_path):
    """It refuses what comes, and then says nothing: requests are answered as ever, and that is counted."""
    with collecting() as sick:
        sick.answer = 400
        options = [f"--trace-otlp-endpoint={sick.url}", "--trace-sample-rate=0.25"]
        with running(tmp_path / "log", small, options=options) as server:
            for _ in range(8):
                assert ask(server, "animals", ANIMALS).status_code == 200
            server.until(lambda: spans_counted(server)["failed"] == 2 * 5)
            sick.held.clear()
            assert ask(server, "animals", ANIMALS, traceparent()[2]).status_code == 200
            server.until(lambda: sick.asked == 2)
            began = time.monotonic()
            assert ask(server, "animals", ANIMALS, traceparent()[2]).status_code == 200
            assert server.stop() == 0
            assert time.monotonic() - began < 15, "it gives the collector three seconds to answer"


def test_all_but_those_who_decline_are_traced_and_what_is_left_is_handed_over_at_the_end(
    small, collector, tmp_path
):
    options = [
        "--trace-config=mode=opentelemetry",
        f"--trace-config=opentelemetry,url={collector.url}/v1/traces",
        "--trace-config=level=TIMESTAMPS",
        "--trace-config=rate=1",
    ]
    with running(tmp_path / "log", small, options=options) as server:
        pid, declined = server.pid, traceparent("00")[2]
        for _ in range(3):
            assert ask(server, "animals", ANIMALS).status_code == 200
            assert ask(server, "animals", ANIMALS, declined).status_code == 200, "its caller wants no trace"
        assert server.stop() == 0
    mine = [span for span in collector.spans if span.whose == pid]
    assert len({span.trace_id for span in mine}) == 3
    assert len(mine) == 3 * 5


def test_waiting_for_a_load_is_part_of_the_trace(small, collector, tmp_path):
    options = [f"--trace-otlp-endpoint={collector.url}", "--idle-unload-secs=0.2", "--load-on-request=true"]
    with running(tmp_path / "log", small, options=[*options, "--verify-models=true"]) as server:
        server.until(lambda: "version_evicted" in server.log)
        trace_id, _, headers = traceparent()
        assert ask(server, "animals", ANIMALS, headers).status_code == 200
        spans = collector.until(trace_id, 1, name="request")
    assert "request > load" in tree(spans)
    assert holds_its_parts(spans)
