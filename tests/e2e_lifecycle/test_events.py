"""What happens to models, told by a real server: as pages, as a stream, as a history, after a restart."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.e2e_lifecycle.repository import Repository
from tests.lifecycle.shelf import plus
from tests.server_process import ROOT, Server, running

FOLLOWING = ("--model-control-mode=poll", "--repository-poll-secs=0.2", "--repository-settle-secs=0.1")
OPTIONS = (*FOLLOWING, "--max-event-listeners=3", "--rollback-window-secs=0")
URL = "/v2/repository/events"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("events"))
    repository.write("first")
    return repository


@pytest.fixture(scope="module")
def server(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("log") / "log", repository.path, options=OPTIONS) as server:
        yield server


class Listener:
    """A stream of events, read by a thread. `told` is each event's kind and data, as they come."""

    def __init__(self, server: Server, query: str = "", **headers: str) -> None:
        self.told: list[tuple[str, dict]] = []
        self.status = 0
        self.ended = threading.Event()
        self._client = httpx.Client(base_url=f"http://{server.http}", timeout=30)
        self._asked = (f"{URL}{query}", {"accept": "text/event-stream", **headers})
        self._open = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        assert self._open.wait(10)

    def _listen(self) -> None:
        path, headers = self._asked
        kind = ""
        try:
            with self._client.stream("GET", path, headers=headers) as answer:
                self.status = answer.status_code
                self._socket = answer.extensions["network_stream"].get_extra_info("socket")
                for line in answer.iter_lines():
                    self._open.set()
                    field, _, value = line.partition(": ")
                    if field == "event":
                        kind = value
                    elif field == "data":
                        self.told.append((kind, json.loads(value)))
            self.ended.set()
        except httpx.HTTPError:
            pass
        finally:
            self._open.set()

    def of(self, model: str) -> list[tuple[str, str]]:
        return [(kind, data.get("version", "")) for kind, data in self.told if data.get("model") == model]

    def close(self) -> None:
        """Hang up, as a client that is killed does."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def listened(server: Server, listener: Listener, holds: Callable[[], bool]) -> None:
    server.until(holds, within_s=10)
    assert not listener.ended.is_set()


def test_a_stream_tells_the_whole_life_of_a_model_in_order(server, repository):
    listener = Listener(server)
    repository.move_in("lived", 1)
    server.until(lambda: ("lived", "1") in server.index())
    repository.move_in("lived", 2)
    listened(server, listener, lambda: ("unloaded", "1") in listener.of("lived"))
    repository.replace_file("lived", 2, b"this is no model")
    listened(server, listener, lambda: ("rejected", "2") in listener.of("lived"))
    repository.replace_file("lived", 2, plus(5))
    listened(server, listener, lambda: ("unloaded", "2") in listener.of("lived"))
    repository.move_out("lived")
    listened(server, listener, lambda: listener.of("lived").count(("unloaded", "2")) == 2)
    assert listener.of("lived") == [
        ("seen", "1"),
        ("loading", "1"),
        ("ready", "1"),
        ("seen", "2"),
        ("loading", "2"),
        ("ready", "2"),
        ("unloading", "1"),
        ("unloaded", "1"),
        ("seen", "2"),
        ("loading", "2"),
        ("rejected", "2"),
        ("seen", "2"),
        ("loading", "2"),
        ("ready", "2"),
        ("swapped", "2"),
        ("unloaded", "2"),
        ("unloading", "2"),
        ("unloaded", "2"),
    ]
    numbers = [data["sequence"] for _, data in listener.told]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert all(data["duration_s"] >= 0 for kind, data in listener.told if kind in ("ready", "unloaded"))
    listener.close()


def test_a_stream_goes_on_after_the_last_event_that_its_listener_had(server):
    page = server.client.get(URL).json()
    third = page["events"][2]
    listener = Listener(server, **{"last-event-id": str(third["sequence"])})
    listened(server, listener, lambda: len(listener.told) >= len(page["events"]) - 3)
    assert listener.told[0][1]["sequence"] == third["sequence"] + 1
    listener.close()


def test_pages_can_be_read_one_after_the_other(server):
    everything = server.client.get(URL, params={"since": 0, "limit": 1000}).json()
    assert (everything["missed"], everything["more"]) == (0, False)
    read, at = [], 0
    while True:
        page = server.client.get(URL, params={"since": at, "limit": 3}).json()
        read += page["events"]
        at = page["last"]
        if not page["more"]:
            break
    assert read == everything["events"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("since=-1", "parameter 'since' must be a whole number"),
        ("limit=0", "parameter 'limit' must be from 1 to"),
        ("stream=perhaps", "parameter 'stream' must be true or false"),
        ("from=3", "there is no parameter 'from'"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(server, query, says):
    answer = server.client.get(f"{URL}?{query}")
    assert answer.status_code == 400
    assert says in answer.json()["error"]


@pytest.mark.parametrize("number", [7, 2**63 - 1])
def test_a_number_of_an_earlier_process_is_told_that_it_has_missed_some(server, number):
    page = server.client.get(URL, params={"since": number}).json()
    assert page["missed"] is None
    assert page["events"][0]["sequence"] == page["oldest"]


def test_only_so_many_may_listen_and_one_who_leaves_makes_room(server):
    listeners = [Listener(server) for _ in range(3)]
    refused = server.client.get(f"{URL}?stream=true")
    assert refused.status_code == 429
    assert "--max-event-listeners" in refused.json()["error"]
    listeners[0].close()

    def is_let_in() -> bool:
        late = Listener(server)
        late.close()
        return late.status == 200

    server.until(is_let_in, within_s=10)
    for listener in listeners[1:]:
        listener.close()


def test_one_who_does_not_read_holds_up_nobody_not_even_the_end(repository, tmp_path):
    with running(tmp_path / "log", repository.path, options=OPTIONS) as server:
        reader = Listener(server, "?since=0")
        client = httpx.Client(base_url=f"http://{server.http}", timeout=30)
        with client.stream("GET", f"{URL}?since=0", headers={"accept": "text/event-stream"}):
            repository.move_in("slow", 1)
            server.until(lambda: ("ready", "1") in reader.of("slow"))
            assert server.stop() == 0
        assert reader.ended.wait(5)  # and whoever reads sees a proper end
    assert "Traceback" not in (tmp_path / "log").read_text()


def versions(server: Server, model: str) -> list[dict]:
    return server.client.get(f"/v2/repository/models/{model}/versions").json()["versions"]


def ask(server: Server, model: str) -> None:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0, 0]}
    server.client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]}).raise_for_status()


def test_history_and_labels_outlive_a_restart(tmp_path: Path):
    repository = Repository(tmp_path)
    repository.write("m", 1, config="version_policy { all {} }")
    repository.write("m", 2, b"this is no model")
    options = (*FOLLOWING, f"--state-dir={tmp_path / 'state'}")
    with running(tmp_path / "log1", repository.path, options=options) as server:
        for _ in range(3):
            ask(server, "m")
        server.client.post("/v2/repository/models/m/labels", json={"stable": 1}).raise_for_status()
        told = {each["version"]: each for each in versions(server, "m")}
        assert (told["1"]["state"], told["1"]["requests"], told["1"]["labels"]) == ("READY", 3, ["stable"])
        assert told["1"]["loaded_s"] > 0
        assert (told["2"]["state"], told["2"]["event"]) == ("UNAVAILABLE", "rejected")
        assert "model.onnx cannot be loaded" in told["2"]["reason"]
        content = told["1"]["content"]
    repository.replace_file("m", 1, plus(7))
    with running(tmp_path / "log2", repository.path, options=options) as server:
        ask(server, "m")
        first, *others = sorted(versions(server, "m"), key=lambda each: (each["version"], each["since"]))
        assert (first["content"], first["state"], first["requests"]) == (content, "UNAVAILABLE", 3)
        assert [(each["state"], each["requests"]) for each in others] == [("READY", 1), ("UNAVAILABLE", 0)]
        by_label = server.client.get("/v2/models/m/versions/stable").json()
        assert by_label["versions"] == ["1"]
        words = [sys.executable, "-m", "server.cli"]
        asked = {"capture_output": True, "text": True, "cwd": ROOT, "timeout": 60}
        shown = subprocess.run([*words, "versions", "m", f"--url={server.http}"], **asked)
        assert content[:6] in shown.stdout
        shown = subprocess.run([*words, "events", f"--url={server.http}"], **asked)
        assert "ready        m version 1" in shown.stdout
    for file in (tmp_path / "state").rglob("*.json"):
        file.write_text("{ torn")
    with running(tmp_path / "log3", repository.path, options=options) as server:
        assert [each["version"] for each in versions(server, "m")] != []
        assert "history_unreadable" in server.log
        assert "labels_unreadable" in server.log
