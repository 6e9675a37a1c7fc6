"""The same traces in real time, against a real server that serves models which only sleep."""

import json
from itertools import islice

import numpy as np
import pytest
import tritonclient.http

from benchmarks.scheduling.live import lay_sleeping, sleeping_row
from benchmarks.scheduling.predictions import Foretold, ask, told_of
from benchmarks.scheduling.rehearse import main as rehearse
from benchmarks.scheduling.replay import NOT_SENT, ServedModel, replay
from benchmarks.scheduling.sleeping import INPUT, OUTPUT, SleepingModel
from benchmarks.scheduling.traces import Arrival, for_seconds, merged, poisson, regular
from benchmarks.server_under_test import ServerUnderTest, tercet
from runtimes.service_time import ServiceTime

MS = 1_000_000
QUICK = SleepingModel(name="quick", service=ServiceTime(fixed_ms=5), max_batch_size=8, target_s=0.5)
SLOW = SleepingModel(name="slow", service=ServiceTime(fixed_ms=500), max_batch_size=1, target_s=0.8)
ONE_WAITS = "dynamic_batching { default_queue_policy { max_queue_size: 1 } }\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> ServerUnderTest:
    folder = tmp_path_factory.mktemp("replay")
    lay_sleeping(folder / "models", QUICK, units=2, settings="dynamic_batching { }\n")
    lay_sleeping(folder / "models", SLOW, units=2, settings=ONE_WAITS)
    with tercet(folder / "models", folder / "server.log") as running:
        yield running


def served(model: SleepingModel, **facts) -> ServedModel:
    return ServedModel(**{"name": model.name, "target_s": model.target_s, "row": sleeping_row()} | facts)


def test_a_model_that_sleeps_is_served_like_any_other_and_says_what_it_is(server):
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.http_port}")
    assert client.get_model_metadata("quick")["platform"] == "sleeping"
    assert client.get_model_config("quick")["backend"] == "sleeping"
    rows = np.arange(4, dtype=np.float32).reshape(4, 1)
    tensor = tritonclient.http.InferInput(INPUT, rows.shape, "FP32")
    tensor.set_data_from_numpy(rows)
    assert client.infer("quick", [tensor]).as_numpy(OUTPUT).tolist() == rows.tolist()


def test_every_arrival_is_sent_and_answered_in_its_time(server):
    trace = for_seconds(merged(poisson("quick", 80, rows=(1, 2)), regular("slow", 2)), 1)
    outcome = replay(trace, [served(QUICK), served(SLOW)], server)
    quick, slow = outcome.models["quick"], outcome.models["slow"]
    assert quick.answered == quick.offered > 50
    assert quick.p50_ms >= 5
    assert quick.mean_batch >= 1
    assert (slow.offered, slow.answered, slow.mean_batch) == (2, 2, 1)
    assert slow.p50_ms >= 500
    assert outcome.seconds > 0.8
    assert 0 < outcome.late_ms < 500, "and it tells by how much it was late itself"
    assert outcome.cpu_s > 0


def test_refusals_are_counted_by_the_status_that_the_server_gave(server):
    arrivals = [Arrival(0, "slow"), *[Arrival(150 * MS, "slow")] * 4]
    told = replay(arrivals, [served(SLOW)], server).models["slow"]
    assert (told.offered, told.answered, told.in_time) == (5, 2, 1)
    assert told.refused["status 429"].count == 3


def test_what_finds_no_free_connection_is_not_sent_and_counted(server):
    arrivals = [Arrival(0, "slow"), Arrival(10 * MS, "slow"), Arrival(0, "quick")]
    models = [served(SLOW), served(QUICK)]
    outcome = replay(sorted(arrivals, key=lambda arrival: arrival.at_ns), models, server, connections=1)
    assert outcome.models["slow"].refused[NOT_SENT].count == 1
    assert outcome.models["quick"].answered == 1


def test_a_trace_may_ask_a_model_by_another_name(server):
    told = replay(islice(regular("m", 50), 3), [served(QUICK, name="m", asked="quick")], server).models["m"]
    assert (told.answered, told.mean_batch) == (3, 1)


def test_a_server_that_does_not_tell_how_it_predicted_gives_no_share(server):
    assert told_of(ask(server, "no such model")) == Foretold()


@pytest.mark.parametrize("trace", ["poisson", "bursts", "diurnal"])
def test_a_trace_is_rehearsed_against_a_server_that_runs_already(server, capsys, trace):
    words = [
        "quick",
        "--trace",
        trace,
        "--rate",
        "50",
        "--seconds",
        "0.4",
        "--http-port",
        str(server.http_port),
    ]
    assert rehearse(words) == 0
    told = json.loads(capsys.readouterr().out)["quick"]
    assert told["answered"] == told["offered"] > 0
    assert told["mean_batch"] >= 1


def test_a_rehearsal_of_a_model_that_is_not_there_says_so(server, capsys):
    assert rehearse(["nobody", "--http-port", str(server.http_port)]) == 1
    assert "does not answer for nobody" in capsys.readouterr().out
