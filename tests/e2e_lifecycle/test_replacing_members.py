"""A member of an ensemble is replaced under load, again and again: no request of the ensemble fails."""

import time
from pathlib import Path

from tests.e2e.ensembles import ensemble, put_ensemble, step, tensors
from tests.e2e_lifecycle.ledger import entry, ledger
from tests.e2e_lifecycle.repository import Repository
from tests.e2e_lifecycle.traffic import Right, traffic
from tests.lifecycle.shelf import plus
from tests.server_process import running

TIMES = 20

READING = ensemble(
    step("ledger", {"at": "at"}, {"y": "found"}),
    step("copy", {"x": "found"}, {"y": "y"}),
    rows=4,
    inputs=tensors("input", at="INT64 1"),
    outputs=tensors("output", y="FP32 1"),
)


def test_no_request_of_an_ensemble_is_lost_while_a_member_is_replaced(tmp_path: Path):
    repository = Repository(tmp_path)
    repository.write("ledger", 1, ledger(1))
    repository.write("copy", 1, plus(1, width=1))
    put_ensemble(repository.path, "reading", READING)
    newest = 1

    def expect() -> Right:
        """Between what served when it was asked and what may serve by now; the copy adds 1."""
        oldest = newest
        return lambda _, at, told: told - 1 in {entry(each, at) for each in range(oldest - 1, newest + 1)}

    def in_force(edition: int) -> bool:
        body = {"inputs": [{"name": "at", "shape": [1, 1], "datatype": "INT64", "data": [0]}]}
        told = server.client.post("/v2/models/reading/infer", json=body).json()
        return bool(told["outputs"][0]["data"] == [entry(edition, 0) + 1])

    options = ["--repository-settle-secs=0.05", "--cpu-threads=2", "--access-log=false"]
    with running(tmp_path / "log", repository.path, options=options) as server:
        with traffic(server, "reading", expect) as load:
            for edition in range(2, 2 + TIMES):
                newest = edition
                repository.replace_file("ledger", 1, ledger(edition))
                server.until(lambda edition=edition: in_force(edition), every_s=0.01)
                assert load.faults == []
            asked = len(load.outcomes)
            until = time.monotonic() + 10
            while len(load.outcomes) < asked + 20 and time.monotonic() < until:
                time.sleep(0.01)
        assert load.faults == []
        assert {outcome.door for outcome in load.outcomes} == {"http", "grpc"}
        assert len(load.outcomes) > 2 * TIMES, "there was load all the time"
        assert server.index()["reading", "1"] == ("READY", "")
        assert server.log.count("model=reading") == server.log.count("model=reading version=1") == 2
