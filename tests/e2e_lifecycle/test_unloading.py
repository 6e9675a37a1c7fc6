"""Load and unload by call while requests are in flight."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from tests.e2e_lifecycle.asking import answer, asked, events
from tests.e2e_lifecycle.held import PREPROCESS, SETUP, Asking, Gate, over_grpc, over_http
from tests.e2e_lifecycle.repository import Repository
from tests.lifecycle.shelf import plus
from tests.server_process import Server, running

EXPLICIT = ("--model-control-mode=explicit", "--access-log=false")


def unload(server: Server, model: str) -> httpx.Response:
    return server.client.post(f"/v2/repository/models/{model}/unload")


def is_live(server: Server) -> bool:
    try:
        return server.client.get("/v2/health/live").status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def being_written(file: Path) -> Iterator[threading.Event]:
    """Touch a file again and again, until told that it is done."""
    done = threading.Event()

    def write() -> None:
        while not done.wait(0.05):
            file.touch()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        yield done
    finally:
        done.set()
        writing.join()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def test_requests_in_flight_are_answered_and_then_the_model_is_gone(repository, gate, tmp_path):
    (repository.write("held", 1) / "pre.py").write_text(gate.pre(PREPROCESS))
    with running(tmp_path / "log", repository.path, options=[*EXPLICIT, "--load-model=*"]) as server:
        asking = [over_http(server, "held"), over_grpc(server, "held")]
        server.until(lambda: gate.begun == 2)
        assert unload(server, "held").status_code == 200
        refused = asked(server, "held")
        assert (refused.status_code, refused.json()["error"]) == (
            404,
            "Request for unknown model: 'held' has no available versions",
        )
        assert server.index()["held", "1"] == ("UNLOADING", "")
        gate.open()
        assert [each.result() for each in asking] == [1, 1]
        server.until(lambda: server.index()["held", "1"] == ("UNAVAILABLE", "unloaded"))
        assert server.ready(), "a model that is unloaded on purpose leaves the server ready"


def test_what_was_remembered_of_a_model_goes_with_it_and_its_refusals_still_name_it(repository, tmp_path):
    repository.write("one", 1, plus(1))
    zero = grpc.InferInput("x", [1, 2], "FP32")
    zero.set_data_from_numpy(np.zeros((1, 2), np.float32))
    options = ["--model-control-mode=explicit", "--load-model=*", "--log-format=json"]
    with (
        running(tmp_path / "log", repository.path, options=options) as server,
        grpc.InferenceServerClient(server.grpc) as client,
    ):
        for _ in range(3):  # known by how it begins from the second time on
            assert client.infer("one", [zero]).as_numpy("y").tolist() == [[1, 1]]
        assert [answer(server, "one") for _ in range(3)] == [1, 1, 1]
        unload(server, "one")
        with pytest.raises(InferenceServerException, match="no available versions"):
            client.infer("one", [zero])
        assert asked(server, "one").status_code == 404
        server.until(lambda: events(server, "request", model="one", door="grpc", status=5))
        server.until(lambda: events(server, "request", model="one", door="http", status=404))
        repository.write("one", 1, plus(2))
        assert server.client.post("/v2/repository/models/one/load").status_code == 200
        assert client.infer("one", [zero]).as_numpy("y").tolist() == [[2, 2]]
        assert answer(server, "one") == 2


def test_a_model_can_be_loaded_again_while_its_last_requests_are_still_in_flight(repository, gate, tmp_path):
    (repository.write("held", 1) / "pre.py").write_text(gate.pre(PREPROCESS))
    with running(tmp_path / "log", repository.path, options=[*EXPLICIT, "--load-model=*"]) as server:
        first = over_http(server, "held")
        server.until(lambda: gate.begun == 1)
        unload(server, "held")
        assert server.client.post("/v2/repository/models/held/load").status_code == 200
        second = over_http(server, "held")
        server.until(lambda: gate.begun == 2)
        gate.open()
        assert (first.result(), second.result()) == (1, 1)
        assert server.index()["held", "1"] == ("READY", "")


def test_an_unload_during_a_load_waits_for_it(repository, gate, tmp_path):
    (repository.write("held", 1) / "pre.py").write_text(gate.pre(SETUP))
    with running(tmp_path / "log", repository.path, options=EXPLICIT) as server:
        with httpx.Client(base_url=f"http://{server.http}", timeout=0.2) as impatient:
            with pytest.raises(httpx.ReadTimeout):
                impatient.post("/v2/repository/models/held/load")
            server.until(lambda: gate.begun == 1)
            with pytest.raises(httpx.ReadTimeout):
                impatient.post("/v2/repository/models/held/unload")
        gate.open()
        server.until(lambda: server.index()["held", "1"] == ("UNAVAILABLE", "unloaded"))
        assert answer(server, "held") is None
        assert gate.begun == 1


def test_a_load_that_comes_before_the_models_of_the_start_are_looked_at_is_not_lost(repository, tmp_path):
    options = [*EXPLICIT, "--load-model=written", "--repository-settle-secs=0.5"]
    repository.move_in("moved", 2)
    folder = repository.write("written", 1)
    with (
        being_written(folder / "model.onnx") as done,
        running(tmp_path / "log", repository.path, options=options, wait=False) as server,
    ):
        server.until(lambda: is_live(server), every_s=0.01)
        assert server.index() == {}, "what is being written is still waited for"
        load = "/v2/repository/models/moved/load"
        loading = Asking(lambda: server.client.post(load, timeout=30).status_code)
        done.set()  # it is at rest half a second later
        assert loading.result() == 200
        server.until(server.ready)
        assert (answer(server, "moved"), answer(server, "written")) == (2, 1)


def test_a_load_that_waits_for_files_at_rest_holds_no_other_model_up(repository, tmp_path):
    options = [*EXPLICIT, "--repository-settle-secs=5"]
    with running(tmp_path / "log", repository.path, options=options) as server:
        repository.write("written", 1)
        repository.move_in("moved", 2)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"http://{server.http}/v2/repository/models/written/load", timeout=0.2)
        assert server.client.post("/v2/repository/models/moved/load").status_code == 200
        assert (answer(server, "moved"), answer(server, "written")) == (2, None)
        server.until(lambda: answer(server, "written") == 1)
