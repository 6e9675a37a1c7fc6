"""One of two predict processes stands still: a model that may run twice is answered all the same."""

import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.e2e.scrape import scrape
from tests.e2e.workshop import put, times
from tests.server_process import Server
from tests.tier_processes import Tiers, in_tiers

HEDGED = 'max_batch_size: 8 parameters { key: "hedge_after_ms" value { string_value: "40" } }'
PRE = """
INPUTS = [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}]

def preprocess(inputs):
    return {"x": inputs["x"] + 1}
"""


@pytest.fixture
def tiers(tmp_path: Path) -> Iterator[Tiers]:
    models = tmp_path / "models"
    put(models, "hedged", times(2, 1), HEDGED)
    put(models, "hedged_behind_code", times(2, 1), HEDGED, pre_py=PRE)
    put(models, "once", times(2, 1), "max_batch_size: 8")
    with in_tiers(tmp_path, models, pre=1, predict=2, post=0) as started:
        yield started


def asked(server: Server, model: str, number: int) -> tuple[int, list[float], float]:
    """The status, the answer, and how long it took in s. A request waits a second at most."""
    body = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number]}],
        "parameters": {"timeout": 1_000_000},
    }
    began = monotonic()
    answer = server.client.post(f"/v2/models/{model}/infer", json=body)
    told = answer.json()
    return answer.status_code, told["outputs"][0]["data"] if "outputs" in told else [], monotonic() - began


def hedges(server: Server) -> tuple[float, float]:
    counts = {name: value for name, _, value in scrape(server)}
    return counts["tercet_hop_hedges_total"], counts["tercet_hop_hedges_won_total"]


def test_a_process_that_stands_still_is_not_waited_for_where_the_model_may_run_twice(tiers):
    (gateway,), (pre,) = tiers.gateway, tiers.pre
    for model in ("hedged", "hedged_behind_code", "once"):
        assert asked(gateway, model, 1)[0] == 200
    tiers.predict[0].terminate(signal.SIGSTOP)
    try:
        stood_still = monotonic()
        took = {"hedged": 0.0, "hedged_behind_code": 0.0}
        for number in range(4):  # by turns; a process that gives no sign of life is left after three seconds
            for model, before in took.items():
                status, answer, took_s = asked(gateway, model, number)
                assert (status, answer) == (200, [2.0 * (number + (model != "hedged"))])
                took[model] = max(before, took_s)
        once = [asked(gateway, "once", number)[0] for number in range(2)]
        assert monotonic() - stood_still < 3, "the machine was too slow for this test"
    finally:
        tiers.predict[0].terminate(signal.SIGCONT)
    assert all(0.04 <= each < 0.9 for each in took.values()), took
    assert 504 in once, "whoever does not say so is asked once"
    for server in (gateway, pre):
        sent, won = hedges(server)
        assert sent >= won > 0
