"""Models in processes of their own: what one of them does to its process, no other model feels."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from tests.e2e.scrape import scrape
from tests.e2e_lifecycle.asking import answer, events
from tests.e2e_lifecycle.ledger import entry, ledger
from tests.e2e_lifecycle.repository import Repository
from tests.e2e_lifecycle.traffic import Right, traffic
from tests.runtimes.models import Identity, script
from tests.runtimes.wild import FATAL, GOOD, Wild
from tests.server_process import Server, running

OWN = 'parameters { key: "runtime_worker" value { string_value: "own" } }'
LAID_OUT = f"""max_batch_size: 4
input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }} ]
{OWN}
"""
OPTIONS = (
    *("--model-control-mode=poll", "--repository-poll-secs=0.2", "--repository-settle-secs=0.1"),
    *("--access-log=false", "--log-format=json", "--runtime-worker-max-crashes=3"),
)


def put_wild(repository: Repository, model: str) -> None:
    folder = repository.folder(model)
    folder.mkdir(parents=True)
    script(folder, Wild())
    repository.configure(model, LAID_OUT)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    made = Repository(tmp_path_factory.mktemp("workers"))
    made.write("steady", 1, ledger(1))
    made.write("struck", 1, ledger(1), config=OWN)
    made.write("odd", 1, config='parameters { key: "runtime_worker" value { string_value: "apart" } }')
    for model in ("wild", "looping"):
        put_wild(made, model)
    return made


@pytest.fixture(scope="module")
def server(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = (*OPTIONS, "--strict-readiness=false")
    with running(tmp_path_factory.mktemp("log") / "log", repository.path, options=options) as started:
        yield started


def workers(server_pid: int) -> list[psutil.Process]:
    """The children of the processes that start them."""
    found = []
    for child in psutil.Process(server_pid).children():
        with suppress(psutil.NoSuchProcess):  # one that has just ended
            if "runtimes.worker.nursery" in child.cmdline():
                found += child.children()
    return found


def worker_of(server: Server, file: str) -> psutil.Process:
    """The one that has opened this library: a test has one worker of each runtime that it looks for."""
    (found,) = [each for each in workers(server.pid) if any(file in m.path for m in each.memory_maps())]
    return found


def ask(server: Server, model: str, first: float) -> httpx.Response:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [first] * 4}
    return server.client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})


def status(server: Server, model: str) -> int:
    return server.client.get(f"/v2/models/{model}/ready").status_code


def test_a_worker_that_is_killed_under_traffic_fails_its_own_runs_alone_and_comes_back(server):
    def right() -> Right:
        return lambda version, at, answer: answer == entry(1, at)

    with traffic(server, "steady", right) as steady, traffic(server, "struck", right) as struck:
        for _ in range(2):
            done = len(struck.outcomes)
            server.until(lambda done=done: len(struck.outcomes) > done + 20)
            worker_of(server, "onnxruntime").kill()
        done = len(struck.outcomes)
        server.until(lambda: len(struck.outcomes) > done + 20)
    assert steady.faults == []
    assert len(steady.outcomes) > 50
    assert all(each.refused and "'struck' version 1" in each.fault for each in struck.faults), struck.faults
    assert len(struck.faults) <= 2 * 4, "only the runs that were under way"
    server.until(lambda: server.index()["struck", "1"] == ("READY", ""))
    assert status(server, "struck") == 200


def test_an_input_that_crashes_native_code_is_told_so_in_words_and_to_ask_again(server):
    assert ask(server, "wild", GOOD).json()["outputs"][0]["data"] == [GOOD] * 4
    refused = ask(server, "wild", FATAL)
    assert refused.status_code == 503
    assert "model 'wild' version 1 did not finish this run" in refused.json()["error"]
    assert "SIGSEGV" in refused.json()["error"]
    assert ask(server, "wild", GOOD).status_code == 200
    with grpc.InferenceServerClient(server.grpc) as client:
        tensor = grpc.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.full((1, 4), FATAL, np.float32))
        with pytest.raises(InferenceServerException, match="SIGSEGV") as failure:
            client.infer("wild", [tensor])
        assert failure.value.status() == "StatusCode.UNAVAILABLE"
    assert ask(server, "wild", GOOD).status_code == 200
    restarts = {
        labels["model"]: count
        for name, labels, count in scrape(server)
        if name == "tercet_runtime_worker_restarts_total"
    }
    assert (restarts["wild"], restarts["steady"]) == (2, 0)
    assert events(server, "runtime_worker_lost", worker="model 'wild' version 1")


def test_a_crash_loop_ends_in_quarantine_and_a_mended_file_leaves_it(server, repository):
    assert [ask(server, "looping", FATAL).status_code for _ in range(3)] == [503] * 3
    server.until(lambda: server.index()["looping", "1"][0] == "UNAVAILABLE")
    assert "3 crashes within 300 s" in server.index()["looping", "1"][1]
    assert "SIGSEGV" in server.index()["looping", "1"][1]
    refused = ask(server, "looping", GOOD)
    assert (refused.status_code, status(server, "looping")) == (404, 400)
    assert server.ready(), "the others serve"
    assert ask(server, "wild", GOOD).status_code == 200
    script(repository.folder("looping"), Identity())
    server.until(lambda: server.index()["looping", "1"] == ("READY", ""))
    assert ask(server, "looping", FATAL).status_code == 200


def test_a_parameter_that_says_nothing_we_know_is_refused_in_words(server):
    state, reason = server.index()["odd", "1"]
    assert state == "UNAVAILABLE"
    assert "runtime_worker is 'apart': it can be own, none, or group:NAME" in reason


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_workers_when_the_server_goes_however_it_goes(number, tmp_path):
    repository = Repository(tmp_path)
    for model in "ab":
        repository.write(model)
    options = ("--runtime-workers=each", "--access-log=false")
    with running(tmp_path / "log", repository.path, options=options) as server:
        assert answer(server, "a") == answer(server, "b") == 1
        family = psutil.Process(server.pid).children(recursive=True)
        assert len(workers(server.pid)) == 2
        server.terminate(number)
        server.wait()
        _, alive = psutil.wait_procs(family, 10)
    assert alive == []
    assert not [name for name in os.listdir("/dev/shm") if name.startswith(("tercet", "psm_"))]


def test_unloading_a_model_ends_its_worker_and_leaves_no_descriptor(tmp_path):
    repository = Repository(tmp_path)
    repository.write("a")
    repository.write("b")
    options = ("--runtime-workers=each", "--model-control-mode=explicit", "--access-log=false")

    def turn(order: str) -> None:
        assert server.client.post(f"/v2/repository/models/a/{order}").status_code == 200

    with running(tmp_path / "log", repository.path, options=[*options, "--load-model=b"]) as server:

        def descriptors() -> int:
            return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))

        turn("load")
        turn("unload")
        server.until(lambda: len(workers(server.pid)) == 1)
        before = descriptors()
        for _ in range(3):
            turn("load")
            assert answer(server, "a") == 1
            assert len(workers(server.pid)) == 2
            turn("unload")
            server.until(lambda: len(workers(server.pid)) == 1)
        server.until(lambda: descriptors() <= before)
        assert answer(server, "b") == 1
