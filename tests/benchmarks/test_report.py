"""Medians, promises, table and file, from figures written down here."""

import json
from datetime import datetime

import pytest
from rich.console import Console

from benchmarks.bare import BareRate, batch_sizes
from benchmarks.call import Door
from benchmarks.promises import Promise, verdicts
from benchmarks.report import Abreast, Figures, Line, Point, Report, Turn, middle, middle_rate
from benchmarks.results import default_file, write
from benchmarks.server_under_test import Batches, mean_batch
from benchmarks.table import notes, table


def figures(requests_per_s: float = 100, **others) -> Figures:
    usual = {"p50_ms": 1.0, "p99_ms": 2.0, "cpu_us": 20.0, "mean_batch": 4.0, "errors": 0, "generator": "wrk"}
    return Figures(requests_per_s=requests_per_s, **(usual | others))


def limit(rows_per_s: float = 200, batch_size: int = 8, alone_us: float = 1000) -> BareRate:
    return BareRate(
        batch_size=batch_size, rows_per_s=rows_per_s, run_ms=40, cpu_us_per_row=5, alone_us=alone_us
    )


def line(*runs: Figures, model: str = "tiny", door: Door = Door.JSON, clients: int = 64, refusal: str = ""):
    return Line(Point("tercet", model, door, clients), list(runs), refusal)


def test_each_column_has_a_median_of_its_own_and_errors_add_up():
    runs = [
        figures(100, cpu_us=30, errors=1),
        figures(300, cpu_us=10, mean_batch=None),
        figures(200, cpu_us=20, errors=2),
    ]
    both = middle(runs)
    assert (both.requests_per_s, both.cpu_us, both.mean_batch, both.errors) == (200, 20, 4, 3)


def test_the_limit_is_one_whole_run_with_the_batch_size_that_it_had():
    runs = [limit(100, batch_size=4), limit(300, batch_size=16), limit(200, batch_size=8)]
    assert middle_rate(runs) == runs[2]


def test_a_line_with_one_error_has_no_figures_for_anyone():
    report = Report([line(figures(), figures(errors=1))], {})
    assert report.find("tercet", "tiny", Door.JSON, 64) is None


def test_a_mean_batch_is_rows_over_runs_between_two_readings():
    assert mean_batch(Batches(rows=10, runs=10), Batches(rows=90, runs=20)) == 8
    assert mean_batch(Batches(rows=10, runs=10), Batches(rows=10, runs=10)) is None
    assert mean_batch(None, None) is None


def test_batch_sizes_are_the_powers_of_two_up_to_the_largest_batch():
    assert batch_sizes(8) == [1, 2, 4, 8]
    assert batch_sizes(12) == [1, 2, 4, 8]
    assert batch_sizes(1) == batch_sizes(0) == [1]


@pytest.mark.parametrize(
    ("aim", "figure", "ending"),
    [
        ({"at_most": 22}, 22.0, "at most 22.0   met"),
        ({"at_most": 22}, 22.1, "at most 22.0   falls short"),
        ({"at_least": 1.5}, 1.5, "at least 1.5   met"),
        ({"at_least": 1.5}, 1.4, "at least 1.5   falls short"),
    ],
)
def test_a_verdict_has_name_figure_aim_and_outcome(aim, figure, ending):
    promise = Promise(name="cost", figure=lambda report: figure, form=".1f", **aim)
    verdict = promise.verdict(figure)
    assert verdict.split()[:2] == ["cost", str(figure)]
    assert verdict.endswith(ending)


def test_the_cost_of_tiny_and_wide_and_the_share_and_delay_of_large_are_promised():
    report = Report(
        [
            line(figures(30_750), clients=8),
            line(figures(44_000, cpu_us=23)),
            line(figures(p50_ms=0.26), door=Door.GRPC, clients=1),
            line(figures(cpu_us=1_600), model="wide", door=Door.BINARY, clients=1),
        ],
        {"tiny": [limit()]},
        [
            Abreast(Point("tercet", "large", Door.GRPC, 8), [Turn(200, 194.4, 200)]),
            Abreast(Point("tercet", "large", Door.GRPC, 1), [Turn(1.0, 1.05, 1.0)]),
        ],
    )
    said = [" ".join(verdict.split()) for verdict in verdicts(report)]
    assert said == [
        "tiny, json, 64 clients: CPU us/request 23.0 at most 22.0 falls short",
        "tiny, json, 64 clients: requests/s 44,000 at least 43,810 met",
        "tiny, json, 8 clients: requests/s 30,750 at least 30,750 met",
        "tiny, grpc, 1 client: p50 ms 0.26 at most 0.25 falls short",
        "large, grpc, 8 clients: rate against the bare session 97.2% at least 97.0% met",
        "large, grpc, 1 client: latency beyond the run 5.0% at most 3.0% falls short",
        "wide, binary, 1 client: CPU us/request 1,600 at most 1,600 met",
    ]


def test_what_takes_turns_with_the_session_is_held_against_its_own_neighbours():
    """The machine is half as fast in the second turn, and the session has a hiccup before the third."""
    turns = [Turn(100, 99, 100), Turn(50, 49, 50), Turn(20, 98, 100)]
    seen = Abreast(Point("tercet", "large", Door.BINARY, 8), turns)
    assert seen.share == pytest.approx(0.99)


def test_nothing_is_said_of_a_promise_that_was_not_measured():
    assert list(verdicts(Report([], {}))) == []


def test_the_table_shows_figures_and_the_notes_say_why_some_are_missing():
    report = Report(
        [
            line(figures(50, cpu_us=21.5)),
            line(figures(errors=7), clients=8),
            line(door=Door.GRPC, refusal="status 501"),
        ],
        {"tiny": [limit(200)]},
    )
    console = Console(width=112)
    with console.capture() as drawn:
        console.print(table(report))
    assert "25.0%" in drawn.get()
    assert "7 errors" in drawn.get()
    assert "21.5" in drawn.get()
    assert list(notes(report))[:2] == [
        "invalid: tercet, tiny over json, 8 clients: 7 requests failed",
        "refused: tercet, tiny over grpc, 64 clients: status 501",
    ]


def test_the_file_keeps_every_run_and_the_verdicts(tmp_path):
    turns = [Turn(200, 190, 200)]
    report = Report(
        [line(figures(50), figures(150))],
        {"tiny": [limit(200)]},
        [Abreast(Point("tercet", "large", Door.GRPC, 8), turns)],
    )
    path = tmp_path / "new" / "bench.json"
    write(path, report, {"at": "2026-01-02"})
    kept = json.loads(path.read_text())
    assert kept["at"] == "2026-01-02"
    assert [run["requests_per_s"] for run in kept["lines"][0]["runs"]] == [50, 150]
    assert kept["lines"][0]["share_of_bare"] == 0.5
    assert kept["abreast"] == [
        {"server": "tercet", "model": "large", "door": "grpc", "clients": 8, "share": 0.95}
        | {"turns": [{"before": 200, "served": 190, "after": 200}]}
    ]
    assert kept["promises"] == [
        "tiny, json, 64 clients: CPU us/request 20.0 at most 22.0 met",
        "tiny, json, 64 clients: requests/s 100 at least 43,810 falls short",
        "large, grpc, 8 clients: rate against the bare session 95.0% at least 97.0% falls short",
    ]


def test_a_file_is_named_by_its_day_and_minute():
    assert default_file(datetime(2026, 1, 2, 3, 4), "bench").name == "2026-01-02-0304-bench.json"  # noqa: DTZ001
