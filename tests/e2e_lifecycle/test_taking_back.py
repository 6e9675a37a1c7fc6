"""A new version that fails more than the one before it is taken back, under traffic, by a real server."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.e2e.workshop import FLOAT, value, written
from tests.e2e_lifecycle.repository import Repository
from tests.lifecycle.shelf import plus
from tests.server_process import Server, running

OPTIONS = ("--model-control-mode=poll", "--repository-poll-secs=0.2", "--repository-settle-secs=0.1")
RAISES = "def preprocess(inputs):\n    raise RuntimeError('a bug of its author')\n"


def choosy() -> bytes:
    """y = x + 100 for x = 0, looked up in a table of one entry: any other x fails as it runs."""
    return written(
        [
            helper.make_node("Cast", ["x"], ["at"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "at"], ["y"]),
        ],
        [value("x", FLOAT, "n", 2)],
        [value("y", FLOAT, "n", 2)],
        table=np.array([100], np.float32),
    )


class Watched:
    """A server that follows a repository, and what tests ask of it."""

    def __init__(self, server: Server, repository: Repository) -> None:
        self.server = server
        self.repository = repository

    def ask(self, model: str, x: float = 0, version: str = "") -> httpx.Response:
        tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [x, x]}
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
        return self.server.client.post(f"{path}/infer", json={"inputs": [tensor]})

    def serves(self, model: str) -> str:
        """The number of the version that answers, even if it fails; empty for none."""
        ready = [v for (m, v), (state, _) in self.server.index().items() if m == model and state == "READY"]
        return max(ready, key=int, default="")

    def events(self, model: str) -> list[tuple[str, str]]:
        told = self.server.client.get(f"/v2/repository/events?model={model}&limit=1000").json()["events"]
        return [(event["event"], event.get("version", "")) for event in told]

    def reason(self, model: str, version: int) -> str:
        return self.server.index()[model, str(version)][1]


@contextmanager
def traffic(watched: Watched, model: str, *inputs: float) -> Iterator[Counter[tuple[int, str]]]:
    """Ask again and again while the block runs: (status, version) -> how often."""
    seen: Counter[tuple[int, str]] = Counter()
    over = threading.Event()

    def ask() -> None:
        tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32"}
        with httpx.Client(base_url=f"http://{watched.server.http}", timeout=30) as client:
            for at in count():
                if over.is_set():
                    return
                x = inputs[at % len(inputs)]
                body = {"inputs": [{**tensor, "data": [x, x]}]}
                response = client.post(f"/v2/models/{model}/infer", json=body)
                seen[response.status_code, response.json().get("model_version", "")] += 1
                time.sleep(0.005)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        over.set()
        asking.join()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    repository = Repository(folder)
    for model in ("numbered", "swapped", "spared"):
        repository.write(model)
    repository.configure("spared", 'parameters { key: "tercet.rollback" value { string_value: "false" } }')
    with running(folder / "log", repository.path, options=OPTIONS) as server:
        yield Watched(server, repository)


def answered_well(watched: Watched, model: str, times: int = 60) -> None:
    for _ in range(times):
        assert watched.ask(model, 1).status_code == 200


def test_a_new_number_that_fails_for_some_inputs_is_taken_back_and_then_no_request_fails(watched):
    answered_well(watched, "numbered")
    with traffic(watched, "numbered", 0, 0, 1) as seen:
        watched.repository.move_in("numbered", 2, choosy())
        watched.server.until(
            lambda: "rolled back" in watched.reason("numbered", 2) if seen[500, ""] else False
        )
    assert seen[200, "2"] > 0  # it did serve, and answer what it could
    with traffic(watched, "numbered", 0, 0, 1) as seen:
        watched.server.until(lambda: sum(seen.values()) > 50)
        watched.server.until(lambda: watched.server.index()["numbered", "2"][0] == "UNAVAILABLE")
    assert set(seen) == {(200, "1")}
    assert "requests failed, and 0 of the" in watched.reason("numbered", 2)
    assert watched.reason("numbered", 1).startswith("serving again: version 2 was rolled back")
    happened = watched.events("numbered")
    assert happened[happened.index(("ready", "2")) :] == [
        ("ready", "2"),
        ("unloading", "1"),
        ("rolled_back", "2"),
        ("brought_back", "1"),
        ("unloaded", "2"),
    ]
    assert "version_rolled_back" in watched.server.log
    metrics = httpx.get(f"http://{watched.server.metrics}/metrics").text
    assert 'tercet_model_transitions_total{event="rolled_back",model="numbered"} 1.0' in metrics


def test_what_was_taken_back_stays_away_until_its_content_changes(watched):
    assert watched.serves("numbered") == "1"
    watched.repository.write("numbered", 3, plus(3))  # another change of the folder: it is looked at anew
    watched.server.until(lambda: watched.serves("numbered") == "3")
    assert watched.ask("numbered").json()["model_version"] == "3"
    watched.repository.replace_file("numbered", 2, plus(2))
    watched.repository.move_out("numbered", 3)
    watched.server.until(lambda: watched.ask("numbered").json().get("model_version") == "2")


def test_new_content_of_the_same_number_is_taken_back_too(watched):
    answered_well(watched, "swapped")
    with traffic(watched, "swapped", 0) as seen:
        (watched.repository.folder("swapped") / "pre.py").write_text(RAISES)
        watched.server.until(lambda: "rolled back" in watched.reason("swapped", 1))
    assert seen[500, ""] >= 5
    answered_well(watched, "swapped")
    assert watched.server.index()["swapped", "1"][0] == "READY"
    assert watched.reason("swapped", 1).startswith("serving what it was before: rolled back: ")


def test_a_model_that_says_so_is_left_as_it_is(watched):
    answered_well(watched, "spared")
    watched.repository.move_in("spared", 2, choosy())
    watched.server.until(lambda: watched.serves("spared") == "2")
    for _ in range(50):
        assert watched.ask("spared", 1).status_code == 500
    time.sleep(1.2)  # longer than from one look to the next
    assert watched.ask("spared", 1).status_code == 500
