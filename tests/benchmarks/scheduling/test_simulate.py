"""The simulator, held against schedules worked out by hand, and against itself."""

import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scheduling.contenders import Fixed
from benchmarks.scheduling.outcome import Refusals
from benchmarks.scheduling.simulate import simulate
from benchmarks.scheduling.sleeping import SleepingModel
from benchmarks.scheduling.traces import Arrival, bursts, for_seconds, merged, poisson, regular, zipf
from benchmarks.scheduling.virtual_loop import Stuck
from runtimes.opening import open_session
from runtimes.service_time import ServiceTime
from runtimes.session import ModelFile

MS = 1_000_000
README = Path(__file__).parents[3] / "benchmarks" / "README.md"


def model(name="m", *, fixed_ms=10.0, per_row_ms=0.0, target_s=0.1, **facts) -> SleepingModel:
    service = ServiceTime(fixed_ms=fixed_ms, per_row_ms=per_row_ms)
    return SleepingModel(name=name, service=service, target_s=target_s, **{"max_batch_size": 8} | facts)


def test_a_lone_request_takes_the_time_of_its_run_to_the_nanosecond():
    told = simulate([Arrival(0, "m", 3)], [model(fixed_ms=2, per_row_ms=0.5)], Fixed()).models["m"]
    assert (told.answered, told.p50_ms, told.busy_s) == (1, 3.5, 0.0035)


def test_requests_that_come_during_a_run_share_the_next():
    # The first runs 0 to 10 ms alone; three wait for it and end together at 20.
    arrivals = [Arrival(0, "m"), Arrival(1 * MS, "m"), Arrival(4 * MS, "m"), Arrival(9 * MS, "m")]
    outcome = simulate(arrivals, [model()], Fixed())
    told = outcome.models["m"]
    assert (told.answered, told.mean_batch, told.slowest_ms) == (4, 2, 19)
    assert (told.p50_ms, outcome.seconds, outcome.device_busy_s) == (11, 0.02, 0.02)  # 10, 11, 16, 19


def test_a_request_waits_for_company_as_long_as_the_delay_says():
    told = simulate([Arrival(0, "m")], [model()], Fixed(max_queue_delay_us=3000)).models["m"]
    assert told.p50_ms == 13


def test_two_models_on_one_unit_slow_each_other_and_on_two_do_not():
    both = [Arrival(0, "a"), Arrival(0, "b")]
    models = [model("a"), model("b", fixed_ms=30)]
    shared = simulate(both, models, Fixed(), units=1).models
    assert (shared["a"].p50_ms, shared["b"].p50_ms) == (20, 40)
    apart = simulate(both, models, Fixed(), units=2).models
    assert (apart["a"].p50_ms, apart["b"].p50_ms) == (10, 30)


def test_a_full_queue_refuses_at_once_and_that_is_counted_by_its_name():
    arrivals = [Arrival(0, "m"), *[Arrival(1 * MS, "m")] * 5]
    told = simulate(arrivals, [model(max_batch_size=1)], Fixed(max_queue_size=2)).models["m"]
    assert (told.offered, told.answered) == (6, 3)
    assert told.refused == {"QueueFull": Refusals(3, 0.0, 0.0)}


def test_a_deadline_that_passes_in_the_queue_is_a_refusal_at_that_moment():
    arrivals = [Arrival(0, "m"), Arrival(1 * MS, "m", 1, 4 * MS)]
    told = simulate(arrivals, [model(max_batch_size=1)], Fixed()).models["m"]
    assert told.refused == {"DeadlineExceeded": Refusals(1, 4.0, 4.0)}


def test_in_time_is_what_is_answered_within_the_target():
    arrivals = [Arrival(0, "m")] * 3
    told = simulate(arrivals, [model(max_batch_size=1, target_s=0.02)], Fixed()).models["m"]
    assert (told.answered, told.in_time) == (3, 2)  # at 10, 20 and 30 ms
    assert told.share_in_time == pytest.approx(2 / 3)


def test_a_run_that_fails_fails_the_request_that_upset_it_alone():
    upset = model(upset=lambda rows: len(rows) % 2 == 1)
    arrivals = [Arrival(0, "m"), Arrival(1 * MS, "m", 2), Arrival(2 * MS, "m", 3)]
    told = simulate(arrivals, [upset], Fixed()).models["m"]
    assert told.answered == 1
    assert told.refused["InferenceFailed"].count == 2


def test_the_service_of_a_run_hangs_on_the_rows_that_went_into_it():
    arrivals = [Arrival(0, "m", 1), Arrival(1 * MS, "m", 3), Arrival(2 * MS, "m", 4)]
    told = simulate(arrivals, [model(fixed_ms=2, per_row_ms=1)], Fixed()).models["m"]
    assert told.busy_s == pytest.approx(0.003 + 0.009)
    assert told.mean_batch == 4


def test_the_share_of_a_device_that_is_asked_for_is_the_share_that_is_busy():
    outcome = simulate(for_seconds(poisson("m", 60, seed=5), 200), [model(max_batch_size=1)], Fixed())
    assert outcome.device_busy_s / outcome.seconds == pytest.approx(0.6, rel=0.03)


def test_the_wait_at_a_queue_of_one_server_is_what_theory_says():
    # M/D/1 at load 0.6: a mean wait of 0.6 / (2 * 0.4) services; half wait for less than the mean.
    outcome = simulate(for_seconds(poisson("m", 60, seed=5), 250), [model(max_batch_size=1)], Fixed())
    told = outcome.models["m"]
    assert 10 < told.p50_ms < 17.5
    assert 30 < told.p99_ms < 60


def test_the_same_seed_gives_the_same_report():
    def once(seed: int):
        models = [model(f"m{number}", per_row_ms=0.1) for number in range(20)]
        trace = merged(
            zipf([each.name for each in models], 300, rows=(1, 2, 5), within_s=0.08, seed=seed),
            bursts("m3", quiet=5, burst=400, quiet_s=1, burst_s=0.5, seed=seed),
        )
        return simulate(islice(trace, 3000), models, Fixed(max_queue_size=20), units=2)

    assert once(1) == once(1)
    assert once(1) != once(2)


def test_a_scheduler_that_loses_a_request_is_found_out():
    class Forgetful:
        def submit(self, ticket):
            pass

        async def close(self, within_s):
            pass

    with pytest.raises(Stuck):
        simulate(islice(regular("m", 10), 3), [model()], lambda stage: {"m": Forgetful()})


def test_a_model_that_sleeps_does_not_run_on_the_event_loop():
    class InPlace:
        def __init__(self, slot):
            self._slot = slot

        def submit(self, ticket):
            self._slot.run(ticket.inputs)

        async def close(self, within_s):
            pass

    with pytest.raises(RuntimeError, match="cannot run on the event loop"):
        simulate([Arrival(0, "m")], [model()], lambda stage: {"m": InPlace(stage.slots["m"][0])})


def test_the_example_that_people_read_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, str(README), "exec"), {})
    assert "QueueFull" in capsys.readouterr().out


def test_the_model_that_people_read_of_opens_and_takes_what_is_said(tmp_path):
    (said,) = re.findall(r"```json\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "model.sleep"
    path.write_text(said)
    session = open_session(ModelFile(path=path))
    rows = np.ones((2, 4), np.float32)
    assert session.run({"INPUT": rows}, ["OUTPUT"])["OUTPUT"].tolist() == rows.tolist()
