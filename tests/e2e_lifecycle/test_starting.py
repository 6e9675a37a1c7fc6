"""How a server starts: which models it loads in each control mode, and when it refuses to."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e_lifecycle.asking import answer
from tests.e2e_lifecycle.repository import Repository
from tests.server_process import ROOT, Server, free_ports, running

DOORS = ("http", "grpc", "metrics")
QUICK = ("--repository-settle-secs=0.05",)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path)
    repository.write("one")
    repository.write("two", 2)
    return repository


def refused(*words: object, code: int = 1) -> str:
    """What a server says that does not start: one line. Code 2 is for what the command line shows already."""
    ports = dict(zip(DOORS, free_ports(3), strict=True))
    given = [*map(str, words)]
    given += [
        f"--{door}-port={port}" for door, port in ports.items() if f"--{door}-port" not in " ".join(given)
    ]
    command = [sys.executable, "-m", "server.cli", "serve", *given, "--log-info=false"]
    command += [f"--{door}-address=127.0.0.1" for door in DOORS]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert ended.returncode == code, ended.stderr
    (line,) = ended.stderr.splitlines()
    return line


def serving(server: Server) -> dict[str, float | None]:
    return {model: answer(server, model) for model in ("one", "two")}


def test_in_mode_none_all_models_are_loaded_once_and_changes_are_not_followed(repository, tmp_path):
    none = [*QUICK, "--model-control-mode=none"]
    with (
        running(tmp_path / "log", repository.path, options=none) as server,
        running(tmp_path / "following", repository.path, options=QUICK) as following,
    ):
        assert serving(server) == {"one": 1, "two": 2}
        repository.move_in("three", 3)
        repository.move_in("one", 7)
        repository.move_out("two")
        following.until(
            lambda: answer(following, "three") == 3 and serving(following) == {"one": 7, "two": None}
        )
        assert serving(server) == {"one": 1, "two": 2}
        assert answer(server, "three") is None
        assert server.client.post("/v2/repository/models/three/load").status_code == 503


def test_in_mode_explicit_nothing_is_loaded_that_is_not_named(repository, tmp_path):
    options = ["--model-control-mode=explicit"]
    with running(tmp_path / "log", repository.path, options=options) as server:
        assert serving(server) == {"one": None, "two": None}
        assert server.index() == {("one", ""): ("", ""), ("two", ""): ("", "")}


@pytest.mark.parametrize(
    ("named", "served"),
    [
        (["--load-model=one"], {"one": 1, "two": None}),
        (["--load-model=one", "--load-model=two"], {"one": 1, "two": 2}),
        (["--load-model=*"], {"one": 1, "two": 2}),
    ],
)
def test_in_mode_explicit_the_models_that_are_named_are_loaded_at_the_start(
    repository, tmp_path, named, served
):
    options = ["--model-control-mode=explicit", *named]
    with running(tmp_path / "log", repository.path, options=options) as server:
        assert serving(server) == served


def test_a_broken_model_at_the_start_keeps_a_strict_server_from_being_ready(repository, tmp_path):
    repository.write("two", 2, b"this is no model")
    with running(tmp_path / "log", repository.path, options=QUICK, wait=False) as server:
        server.until(lambda: "server_ready" in server.log)
        ready = server.client.get("/v2/health/ready")
        assert (ready.status_code, ready.json()["ready"]) == (400, False)
        assert "repository index says why" in ready.json()["error"]
        assert server.client.get("/v2/health/live").status_code == 200
        assert serving(server) == {"one": 1, "two": None}


def test_a_server_that_is_not_strict_is_ready_once_every_model_was_tried(repository, tmp_path):
    repository.write("two", 2, b"this is no model")
    options = [*QUICK, "--strict-readiness=false"]
    with running(tmp_path / "log", repository.path, options=options) as server:
        assert serving(server) == {"one": 1, "two": None}


def test_with_exit_on_error_a_broken_model_ends_the_start(repository):
    repository.write("two", 2, b"this is no model")
    sentence = refused(repository.path, *QUICK, "--exit-on-error=true", "--log-error=false")
    assert sentence == "tercet: a model failed to load, and --exit-on-error is on; the log says why"


def test_an_unknown_model_at_the_start_is_refused_by_name(repository):
    sentence = refused(
        repository.path, "--model-control-mode=explicit", "--load-model=one", "--load-model=three"
    )
    assert sentence.startswith("tercet: --load-model=three: there is no such model in ")
    assert str(repository.path) in sentence


def test_a_star_beside_another_name_is_refused(repository):
    words = ("--model-control-mode=explicit", "--load-model=one", "--load-model=*")
    sentence = refused(repository.path, *words, code=2)
    assert "--load-model=* loads every model, so it cannot stand beside another" in sentence


def test_a_repository_that_is_not_there_is_refused(tmp_path):
    nowhere = tmp_path / "nowhere"
    assert refused(nowhere, code=2) == f"tercet: the model repository {nowhere} is not a folder"


def test_a_repository_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "model.onnx"
    file.touch()
    assert refused(file, code=2) == f"tercet: the model repository {file} is not a folder"


def test_a_server_without_a_repository_is_refused():
    assert refused(code=2).startswith("tercet: there is nothing to serve: name a model repository")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("door", DOORS)
def test_a_port_that_is_taken_is_refused_by_its_address(repository, taken, door):
    sentence = refused(repository.path, f"--{door}-port={taken}")
    assert sentence == f"tercet: cannot listen on 127.0.0.1:{taken}: Address already in use"
