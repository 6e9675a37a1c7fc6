"""A tier that goes and comes back, as a gateway sees it: tests kill its process, and start another."""

import signal
import time
from contextlib import ExitStack

import httpx
import pytest

from tests.server_process import free_ports
from tests.tier_processes import tier
from tests.tiers.folders import Folders
from tests.tiers.traffic import Traffic

RECOVERS_WITHIN_S = 2.0


class Lost:
    """A gateway over a predict tier of fixed address, whose process a test may replace."""

    def __init__(self, stack: ExitStack, folders: Folders, logs) -> None:
        self._folders = folders
        self._logs = logs
        self._stack = stack
        self._count = 0
        (self.port,) = free_ports(1)
        self.address = f"127.0.0.1:{self.port}"
        self.start()
        named = f"--predict-endpoints={self.address}"
        self.gateway = stack.enter_context(tier(logs, "gateway", wait=False, options=[named]))
        self.gateway.until(self.gateway.ready, within_s=60)

    def start(self) -> None:
        self._count += 1
        started = tier(
            self._logs,
            "predict",
            self._folders.of("predict"),
            options=[f"--grpc-port={self.port}"],
            name=f"predict-{self._count}",
        )
        self.predict = self._stack.enter_context(started)

    def ask(self) -> httpx.Response:
        x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}
        return self.gateway.client.post("/v2/models/plain/infer", json={"inputs": [x]})


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    folders = Folders(tmp_path_factory.mktemp("repositories") / "of")
    folders.put("plain", 1, 1, "predict")
    with ExitStack() as stack:
        yield Lost(stack, folders, tmp_path_factory.mktemp("logs"))


def test_a_tier_that_is_killed_is_named_to_clients_at_once_and_found_again(lost):
    assert lost.ask().status_code == 200
    lost.predict.terminate(signal.SIGKILL)
    lost.predict.wait()
    lost.gateway.until(lambda: not lost.gateway.ready(), within_s=RECOVERS_WITHIN_S)
    began = time.monotonic()
    refused = lost.ask()
    assert time.monotonic() - began < 1
    assert refused.status_code == 503
    assert "the predict tier" in refused.json()["error"]
    assert int(refused.headers["retry-after"]) >= 1
    assert lost.gateway.index()[("plain", "1")] == (
        "UNAVAILABLE",
        "the predict tier has no endpoint that answers",
    )
    told = lost.gateway.client.get("/v2/health/ready").json()["error"]
    assert "model 'plain' does not answer: the predict tier has no endpoint that answers" in told
    lost.start()
    lost.gateway.until(lambda: lost.ask().status_code == 200, within_s=RECOVERS_WITHIN_S)
    lost.gateway.until(lost.gateway.ready, within_s=RECOVERS_WITHIN_S)


def test_a_tier_that_leaves_answers_what_it_has_and_gets_nothing_new(lost):
    with Traffic(lost.gateway, "plain") as traffic:
        lost.gateway.until(lambda: traffic.answers)
        lost.predict.terminate()
        lost.predict.wait()
        lost.gateway.until(lambda: traffic.refusals)
    assert traffic.answers == {10}
    assert {status for status, _ in traffic.refusals} == {503}
    assert all("the predict tier" in text for _, text in traffic.refusals), traffic.refusals
    lost.start()
    lost.gateway.until(lost.gateway.ready, within_s=RECOVERS_WITHIN_S)


@pytest.mark.slow
def test_a_tier_that_hangs_is_given_up_and_found_again_when_it_goes_on(lost):
    lost.predict.terminate(signal.SIGSTOP)
    try:
        refused = lost.ask()
        assert refused.status_code == 503
        assert "the predict tier" in refused.json()["error"]
    finally:
        lost.predict.terminate(signal.SIGCONT)
    lost.gateway.until(lambda: lost.ask().status_code == 200, within_s=RECOVERS_WITHIN_S)
