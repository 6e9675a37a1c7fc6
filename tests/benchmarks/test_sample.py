"""What the generators print becomes figures, and their errors are never lost."""

import json
from dataclasses import replace

import pytest

from benchmarks import abreast, load_h2load, load_python, load_wrk
from benchmarks.sample import LoadFailed, Sample, percentile

H2LOAD = """\
finished in {finished}, 33285.00 req/s, 3.37MB/s
requests: {total} total, {total} started, {total} done, \
{succeeded} succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {succeeded} 2xx, 0 3xx, 0 4xx, {failed} 5xx
traffic: 6.73MB (7056996) total, 130.11KB (133236) headers (space savings 94.73%), 4.82MB ({data}) data
"""


def h2load(*, succeeded: int, data: int, failed: int = 0, finished: str = "2.00s") -> str:
    return H2LOAD.format(
        total=succeeded + failed, succeeded=succeeded, failed=failed, data=data, finished=finished
    )


def wrk(**seen: float) -> str:
    line = {"requests": 500, "seconds": 2.5, "p50_ms": 0.2, "p99_ms": 4.4, "status": 0, "broken": 0} | seen
    return f"Running 2s test\n  1 threads and 8 connections\n{json.dumps(line)}\n"


def test_a_percentile_is_the_smallest_value_that_its_share_does_not_exceed():
    assert percentile([1, 2, 3, 4], 0.50) == 2
    assert percentile([1, 2, 3, 4], 0.99) == 4
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([7], 0.50) == percentile([7], 0.99) == 7


def test_a_sample_without_an_answer_is_a_failed_load():
    with pytest.raises(LoadFailed, match=r"nothing was answered in 3\.0 s, with 5 errors"):
        Sample(generator="wrk", seconds=3, requests=0, errors=5, p50_ms=0, p99_ms=0)


def test_wrk_is_read_from_the_last_line_that_its_script_prints():
    sample = load_wrk.parse(wrk())
    assert (sample.requests_per_s, sample.p50_ms, sample.p99_ms, sample.errors) == (200, 0.2, 4.4, 0)


def test_replies_that_wrk_counts_as_requests_but_refuse_are_errors():
    sample = load_wrk.parse(wrk(status=30, broken=2))
    assert (sample.requests, sample.errors) == (470, 32)


def test_h2load_is_read_from_its_summary_and_its_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("1795207753373967\t200\t4000\n1795207753373918\t200\t1000\n1795207753373927\t200\t2000\n")
    sample = load_h2load.parse(
        h2load(succeeded=3, data=3 * 76), load_h2load.latencies_us(log), reply_bytes=76
    )
    assert (sample.requests, sample.errors, sample.p50_ms, sample.p99_ms) == (3, 0, 2, 4)
    assert sample.requests_per_s == 1.5


def test_an_empty_log_of_h2load_has_no_latencies(tmp_path):
    log = tmp_path / "log"
    log.write_text("")
    assert load_h2load.latencies_us(log) == []


@pytest.mark.parametrize(("finished", "seconds"), [("500.00ms", 0.5), ("3.01s", 3.01)])
def test_h2load_writes_its_seconds_with_a_unit(finished, seconds):
    sample = load_h2load.parse(h2load(succeeded=9, data=9, finished=finished), [1.0], reply_bytes=1)
    assert sample.seconds == seconds


def test_grpc_calls_that_end_with_a_status_and_no_message_are_errors():
    sample = load_h2load.parse(h2load(succeeded=100, failed=3, data=90 * 76), [1.0], reply_bytes=76)
    assert (sample.requests, sample.errors) == (90, 13)


def test_what_several_processes_saw_is_one_sample():
    parts = [
        {"ended": [10.1, 10.2], "latencies_ms": [3.0, 1.0], "errors": 1},
        {"ended": [10.3], "latencies_ms": [2.0], "errors": 0},
    ]
    sample = load_python.sampled(load_python.joined(parts), seconds=1.5)
    assert (sample.requests_per_s, sample.p50_ms, sample.p99_ms, sample.errors) == (2, 2, 3, 1)


def test_a_rate_is_told_from_run_to_run_whatever_is_cut_off_at_either_end():
    """Runs of four rows every 0.1 s, whose answers come a millisecond apart."""
    ended = [1.0 + 0.1 * run + 0.001 * row for run in range(5) for row in range(4)]
    seen = load_python.Completions(ended=ended[::-1], latencies_ms=[], errors=0)
    assert abreast.rows_per_s(seen, together_s=0.01) == pytest.approx(40, rel=0.01)


def test_a_rate_of_one_run_or_with_errors_is_a_failed_load():
    one_run = load_python.Completions(ended=[1.0, 1.001], latencies_ms=[], errors=0)
    with pytest.raises(LoadFailed, match="2 answers tell no rate"):
        abreast.rows_per_s(one_run, together_s=0.01)
    with pytest.raises(LoadFailed, match="3 requests failed"):
        abreast.rows_per_s(replace(one_run, errors=3), together_s=0.01)


def test_every_client_belongs_to_one_process():
    assert load_python.shares(8, 3) == [3, 3, 2]
    assert load_python.shares(1, 1) == [1]
