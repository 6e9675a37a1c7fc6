"""How a server ends: load balancers are given time, what is in flight is answered, and the code is 0."""

import signal
import time
from pathlib import Path

import httpx
import pytest
import tritonclient.grpc as triton

from tests.e2e_lifecycle.asking import answer, events
from tests.e2e_lifecycle.held import PREPROCESS, SETUP, Asking, Gate, over_grpc, over_http
from tests.e2e_lifecycle.ledger import entry, ledger
from tests.e2e_lifecycle.repository import Repository
from tests.e2e_lifecycle.traffic import Outcome, Right, traffic
from tests.lifecycle.shelf import plus
from tests.server_process import Server, running

GRACE_S = 1.0
OPTIONS = ("--log-format=json", "--access-log=false", "--repository-settle-secs=0.1")
BOTH = [signal.SIGTERM, signal.SIGINT]
FRONTS = pytest.mark.parametrize("front", ["auto", "grpcio"])


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path)
    repository.write("ledger", 1, ledger(1))
    return repository


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def right_of_the_only_edition() -> Right:
    return lambda version, at, said: (version, said) == ("1", entry(1, at))


def accepts(server: Server) -> bool:
    """Whether a new connection gets an answer that is no refusal."""
    try:
        return httpx.get(f"http://{server.http}/v2/health/live", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def is_refusal(outcome: Outcome, front: str) -> bool:
    """Whether it was turned away before it had begun.

    grpcio says CANCELLED of a call that it has received and not yet handed over when it is stopped
    (grpc/grpc#41785).
    """
    return outcome.refused or (front == "grpcio" and outcome.fault.startswith("[StatusCode.CANCELLED]"))


@pytest.mark.parametrize(("number", "front"), [(signal.SIGTERM, "auto"), (signal.SIGINT, "grpcio")])
def test_under_load_no_request_fails_before_the_grace_is_over_and_after_it_they_are_only_refused(
    repository, gate, tmp_path, number, front
):
    (repository.write("held", 1) / "pre.py").write_text(gate.pre(PREPROCESS))
    options = [*OPTIONS, f"--drain-grace-secs={GRACE_S}", f"--grpc-front={front}"]
    with (
        running(tmp_path / "log", repository.path, options=options) as server,
        traffic(server, "ledger", right_of_the_only_edition) as load,
    ):
        held = [over_http(server, "held"), over_grpc(server, "held")]
        server.until(lambda: gate.begun == 2 and len(load.outcomes) > 200)
        told = time.monotonic()
        server.terminate(number)
        server.until(lambda: not server.ready(), every_s=0.005)
        turned = time.monotonic()
        assert turned - told < GRACE_S / 2
        assert server.client.get("/v2/health/ready").status_code == 503
        assert server.client.get("/v2/health/live").status_code == 200
        held += [over_http(server, "held"), over_grpc(server, "held")]
        server.until(lambda: gate.begun == 4)
        while time.monotonic() < told + 2 * GRACE_S:
            if not accepts(server):
                break
        assert told + GRACE_S <= time.monotonic() < told + 2 * GRACE_S
        assert server.returncode is None, "four requests are still in flight"
        gate.open()
        assert [each.result() for each in held] == [1] * 4
        assert server.wait(10) == 0
        load.stop()
    during = [outcome for outcome in load.outcomes if told < outcome.began and outcome.ended < told + GRACE_S]
    assert {outcome.door for outcome in during} == {"http", "grpc"}
    assert len(during) > 100
    early = [outcome for outcome in load.outcomes if outcome.fault and outcome.ended < told + GRACE_S]
    assert early == []
    assert [outcome for outcome in load.faults if not is_refusal(outcome, front)] == []
    assert [len(events(server, name)) for name in ("server_leaving", "server_drained", "server_stopped")] == [
        1
    ] * 3


def test_without_a_grace_requests_in_flight_are_answered_all_the_same(repository, gate, tmp_path):
    (repository.write("held", 1) / "pre.py").write_text(gate.pre(PREPROCESS))
    with running(tmp_path / "log", repository.path, options=OPTIONS) as server:
        held = [over_http(server, "held"), over_grpc(server, "held")]
        server.until(lambda: gate.begun == 2)
        server.terminate()
        server.until(lambda: not accepts(server))
        gate.open()
        assert [each.result() for each in held] == [1, 1]
        assert server.wait(10) == 0


@FRONTS
def test_a_large_answer_is_written_to_its_end(repository, gate, tmp_path, front):
    (repository.write("wide", 1, plus(1, width="width")) / "pre.py").write_text(gate.pre(PREPROCESS))
    options = [*OPTIONS, f"--grpc-front={front}"]
    with running(tmp_path / "log", repository.path, options=options) as server:
        held = [over_http(server, "wide", 200_000), over_grpc(server, "wide", 2_000_000)]
        server.until(lambda: gate.begun == 2)
        server.terminate()
        server.until(lambda: not accepts(server))
        gate.open()
        assert [each.result() for each in held] == [1, 1]
        assert server.wait(10) == 0


@FRONTS
def test_a_call_that_loads_a_model_is_answered_too(repository, tmp_path, front):
    gates = {name: Gate(tmp_path / name) for name in ("over_http", "over_grpc")}
    for name, gate in gates.items():
        (repository.write(name, 1) / "pre.py").write_text(gate.pre(SETUP))

    def load_over_http() -> float:
        return httpx.post(f"http://{server.http}/v2/repository/models/over_http/load", timeout=30).status_code

    def load_over_grpc() -> float:
        with triton.InferenceServerClient(server.grpc) as client:
            client.load_model("over_grpc")
        return 0

    options = [*OPTIONS, "--model-control-mode=explicit", f"--grpc-front={front}"]
    with running(tmp_path / "log", repository.path, options=options) as server:
        loading = [Asking(load_over_http), Asking(load_over_grpc)]
        server.until(lambda: all(gate.begun == 1 for gate in gates.values()))
        server.terminate()
        server.until(lambda: not accepts(server))
        for gate in gates.values():
            gate.open()
        assert [each.result() for each in loading] == [200, 0]
        assert server.wait(10) == 0


@pytest.mark.parametrize("number", BOTH)
def test_a_load_in_progress_is_finished_and_put_away_first(repository, gate, tmp_path, number):
    (repository.write("held", 1) / "pre.py").write_text(gate.pre(SETUP))
    with running(tmp_path / "log", repository.path, options=OPTIONS, wait=False) as server:
        server.until(lambda: gate.begun == 1)
        server.terminate(number)
        server.until(lambda: bool(events(server, "server_drained")))
        gate.open()
        assert server.wait(10) == 0
    assert events(server, "version_unloaded", model="held")
    assert not events(server, "threads_left_behind")


def test_a_load_that_does_not_end_holds_the_exit_no_longer_than_its_timeout(repository, gate, tmp_path):
    (repository.write("held", 1) / "pre.py").write_text(gate.pre(SETUP))
    options = [*OPTIONS, "--exit-timeout-secs=1"]
    with running(tmp_path / "log", repository.path, options=options, wait=False) as server:
        server.until(lambda: gate.begun == 1)
        server.terminate()
        assert server.wait(10) == 0
    (line,) = events(server, "threads_left_behind")
    (thread,) = line["threads"]
    assert thread.startswith("load_")


def test_models_that_wait_for_their_turn_to_load_are_not_loaded_first(repository, gate, tmp_path):
    for number in range(50):
        (repository.write(f"held{number}", 1) / "pre.py").write_text(gate.pre(SETUP))
    options = [*OPTIONS, "--model-load-thread-count=2"]
    with running(tmp_path / "log", repository.path, options=options, wait=False) as server:
        server.until(lambda: gate.begun == 2)
        server.terminate()
        server.until(lambda: bool(events(server, "server_drained")))
        gate.open()
        assert server.wait(10) == 0
    assert gate.begun == 2


def test_a_request_that_does_not_end_holds_the_exit_no_longer_than_its_timeout(repository, gate, tmp_path):
    (repository.write("held", 1) / "pre.py").write_text(gate.pre(PREPROCESS))
    options = [*OPTIONS, "--exit-timeout-secs=1"]
    with running(tmp_path / "log", repository.path, options=options) as server:
        held = [over_http(server, "held"), over_grpc(server, "held")]
        server.until(lambda: gate.begun == 2)
        server.terminate()
        assert server.wait(10) == 0
        assert [isinstance(each.result(), Exception) for each in held] == [True, True]
    assert len(events(server, "threads_left_behind")) == 1


def test_signals_that_come_again_and_again_do_no_harm(repository, tmp_path):
    with running(tmp_path / "log", repository.path, options=[*OPTIONS, "--drain-grace-secs=0.3"]) as server:
        assert answer(server, "ledger") is None
        while server.returncode is None:
            server.terminate(signal.SIGTERM)
            server.terminate(signal.SIGINT)
            time.sleep(0.002)
        assert server.returncode == 0, server.log
