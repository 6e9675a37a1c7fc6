"""Labels of versions, by calls, by a file and by the command: requested like numbers, moved in traffic."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import count

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.e2e_lifecycle.repository import Repository
from tests.server_process import ROOT, Server, running

OPTIONS = ("--model-control-mode=poll", "--repository-poll-secs=0.2", "--repository-settle-secs=0.1")
BOTH = "version_policy { all {} }"
ZEROS = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0, 0]}


class Shop:
    """A server that follows a repository, where every model has versions 1 and 2: y = x + version."""

    def __init__(self, server: Server, repository: Repository) -> None:
        self.server = server
        self.repository = repository

    def labels(self, model: str, **change: int | None) -> httpx.Response:
        return self.server.client.post(f"/v2/repository/models/{model}/labels", json=change)

    def ask(self, model: str, version: str) -> httpx.Response:
        path = f"/v2/models/{model}/versions/{version}/infer"
        return self.server.client.post(path, json={"inputs": [ZEROS]})

    def answers(self, model: str, label: str) -> str:
        """The number of the version that a label leads to; empty for none."""
        answer = self.ask(model, label)
        return answer.json()["model_version"] if answer.status_code == 200 else ""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("labels")
    repository = Repository(folder)
    for model in ("called", "filed", "moved", "plain"):
        repository.write(model, 1, config=BOTH)
        repository.write(model, 2)
    (repository.path / "filed" / "version_labels.json").write_text('{"stable": 1, "canary": 2}')
    with running(folder / "log", repository.path, options=OPTIONS) as server:
        yield Shop(server, repository)


def test_a_label_is_requested_as_the_version_and_answered_with_its_number(shop):
    told = shop.labels("called", stable=1, canary=2)
    assert told.json()["labels"] == {
        "canary": {"version": "2", "from": "call", "serves": True},
        "stable": {"version": "1", "from": "call", "serves": True},
    }
    for label, number in (("stable", "1"), ("canary", "2")):
        answer = shop.ask("called", label).json()
        assert (answer["model_version"], answer["outputs"][0]["data"][0]) == (number, float(number))
    base = "/v2/models/called/versions/canary"
    assert shop.server.client.get(base).json()["versions"] == ["2"]
    assert shop.server.client.get(f"{base}/ready").status_code == 200
    assert shop.server.client.get(f"{base}/stats").json()["model_stats"][0]["version"] == "2"
    plain = shop.server.client.post(f"{base}/predict", json={"x": [0, 0]})
    assert plain.json()["y"] == [2, 2]


def test_a_label_is_requested_over_grpc_alike(shop):
    shop.labels("called", canary=2)
    tensor = triton.InferInput("x", [1, 2], "FP32").set_data_from_numpy(np.zeros((1, 2), np.float32))
    with triton.InferenceServerClient(shop.server.grpc) as client:
        for _ in range(3):  # the fast front knows a message again by how it begins
            answer = client.infer("called", [tensor], model_version="canary")
            assert answer.get_response().model_version == "2"
        shop.labels("called", canary=1)
        assert client.infer("called", [tensor], model_version="canary").get_response().model_version == "1"
        assert client.is_model_ready("called", "canary")
        with pytest.raises(InferenceServerException, match="'mine' is not found; there are canary") as raised:
            client.infer("called", [tensor], model_version="mine")
    assert raised.value.status() == "StatusCode.NOT_FOUND"


def test_an_unknown_label_is_refused_with_those_that_there_are(shop):
    shop.labels("called", stable=1, canary=2)
    answer = shop.ask("called", "cannary")
    assert (answer.status_code, answer.json()["error"]) == (
        404,
        "Request for unknown model: 'called' version label 'cannary' is not found; there are canary, stable",
    )
    assert shop.ask("plain", "canary").status_code == 404  # a model without any: Triton's own sentence


def test_a_label_is_put_only_on_what_serves_and_all_or_nothing(shop):
    answer = shop.labels("plain", good=1, bad=7)
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "label 'bad' cannot be put on version 7 of model 'plain', which does not serve; those that do: 1, 2",
    )
    assert shop.labels("plain").json()["labels"] == {}
    assert shop.labels("nobody", good=1).status_code == 404
    for label in ("1", "a b", "-a", "x" * 65, ""):
        assert shop.labels("plain", **{label: 1}).status_code == 400, label


def test_labels_in_a_file_move_with_it_and_reload_nothing(shop):
    assert (shop.answers("filed", "stable"), shop.answers("filed", "canary")) == ("1", "2")
    loads = shop.server.log.count("version_ready model=filed")
    (shop.repository.path / "filed" / "version_labels.json").write_text('{"stable": 2, "old": 1}')
    shop.server.until(lambda: shop.answers("filed", "stable") == "2")
    assert (shop.answers("filed", "old"), shop.answers("filed", "canary")) == ("1", "")
    assert shop.server.log.count("version_ready model=filed") == loads
    assert shop.labels("filed", stable=1).json()["labels"]["stable"]["from"] == "call"
    assert shop.answers("filed", "stable") == "1"
    assert shop.labels("filed", stable=None).json()["labels"]["stable"]["from"] == "file"
    assert shop.answers("filed", "stable") == "2"


def test_a_label_moves_under_traffic_without_a_failed_request(shop):
    shop.labels("moved", live=1)
    seen: Counter[tuple[int, str]] = Counter()
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=f"http://{shop.server.http}", timeout=30) as client:
            while not over.is_set():
                answer = client.post("/v2/models/moved/versions/live/infer", json={"inputs": [ZEROS]})
                seen[answer.status_code, answer.json().get("model_version", "")] += 1

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for number in count(0):
        if len(seen) == 2 and number >= 20:
            break
        assert shop.labels("moved", live=1 + number % 2).status_code == 200
    over.set()
    for asker in askers:
        asker.join()
    assert set(seen) == {(200, "1"), (200, "2")}


def test_a_label_whose_version_has_left_says_so_and_names_it(shop):
    shop.labels("plain", last=2)
    shop.repository.move_out("plain", 2)
    shop.server.until(lambda: shop.ask("plain", "last").status_code == 404)
    answer = shop.ask("plain", "last")
    assert answer.status_code == 404
    assert "version label 'last' is on version 2, which has left" in answer.json()["error"]


def test_the_command_puts_labels_and_shows_them(shop):
    def tercet(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "server.cli", *words, f"--url={shop.server.http}"]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)

    assert tercet("label", "moved", "fresh=2", "live=").returncode == 0
    assert (shop.answers("moved", "fresh"), shop.answers("moved", "live")) == ("2", "")
    assert "fresh" in tercet("label", "moved").stdout
    refused = tercet("label", "moved", "fresh=9")
    assert (refused.returncode, "does not serve" in refused.stderr) == (1, True)
