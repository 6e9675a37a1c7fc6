"""Which peers are measured and how they are asked; and one of them, the bare path, alive."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.ask import ask, check
from benchmarks.bare import Bare
from benchmarks.call import Door
from benchmarks.models import MODELS, lay, version_folder
from benchmarks.peers import environment
from benchmarks.peers.__main__ import main, words
from benchmarks.peers.known import PEERS, PROTOTYPE
from benchmarks.peers.plain import PLAIN
from benchmarks.peers.process import batches, serving
from benchmarks.peers.turns import Chosen
from benchmarks.runs import Question


def test_peers_models_doors_and_clients_can_be_chosen():
    asked = words().parse_args(["--peers", "ray", "kserve", "--doors", "grpc", "--clients", "1", "8"])
    assert (asked.parts, asked.doors, asked.clients) == (["ray", "kserve"], [Door.GRPC], [1, 8])
    asked = words().parse_args([])
    assert asked.parts == [*PEERS]
    chosen = Chosen(models=asked.models, doors=asked.doors, clients=asked.clients)
    assert [chosen.clients_of(MODELS[name]) for name in asked.models] == [(64,)]


def test_every_peer_has_its_program_and_exact_versions():
    for peer in PEERS.values():
        assert (Path(environment.__file__).parent / "serve" / f"{peer.module}.py").exists()
        if peer.environment:
            text = (environment.REQUIREMENTS / f"{peer.environment}.txt").read_text()
            pins = [each for each in text.splitlines() if not each.startswith("#")]
            assert pins
            assert [pin for pin in pins if "==" not in pin] == []


def test_another_pin_makes_another_environment():
    assert environment.key(b"ray==1") == environment.key(b"ray==1") != environment.key(b"ray==2")


def test_a_peer_that_cannot_be_installed_is_told_of_and_does_not_stop_the_others(
    tmp_path, monkeypatch, capsys
):
    def away(name: str) -> Path:
        raise environment.NotInstalled(f"{name} cannot be installed: no such package")

    monkeypatch.setattr("benchmarks.peers.turns.packages", away)
    code = main(["--quick", "--peers", "ray", "litserve", "--out", str(tmp_path / "out.json")])
    said = capsys.readouterr().out
    assert code == 1
    for name in ("ray", "litserve"):
        assert f"{name} could not be measured: {name} cannot be installed: no such package" in said
    assert "tiny, json: rate over ray's" in said


@pytest.mark.slow
def test_a_pip_that_finds_nothing_ends_in_its_own_words(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "FOLDER", tmp_path / "peers")
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path)
    (tmp_path / "none.txt").write_text("this is no requirement\n")
    with pytest.raises(environment.NotInstalled, match=r"none cannot be installed: .*this is no req"):
        environment.python("none")


def test_rows_are_asked_as_lists_where_there_is_no_protocol():
    row = {"INPUT": np.array([[1, 2.5]], np.float32)}
    call = PLAIN.encode(Door.JSON, "tiny", row, http_port=80, grpc_port=0)
    assert (call.url, call.body) == ("http://127.0.0.1:80/predict", b'{"rows":[[1.0,2.5]]}')
    assert PLAIN.read_http({}, b"[[3.0]]")["OUTPUT"].tolist() == [[3.0]]


def test_the_bare_path_answers_rightly_at_every_door_and_counts_its_runs(tmp_path):
    model = MODELS["tiny"]
    lay([model], tmp_path / "models")
    version = version_folder(tmp_path / "models", "tiny")
    truth = Bare(version).answer(model.row())
    question = Question("tiny", model.row(), Door.JSON, 1, truth=truth)
    with serving(PROTOTYPE, question, version / "model.onnx", 32, tmp_path / "bare") as server:
        before = batches(tmp_path / "bare").rows
        for door in Door:
            question.door = door
            check(ask(question.to(server)).outputs, truth)
        assert batches(tmp_path / "bare").rows == before + len(Door)
        pid = server.pid
    assert not Path(f"/proc/{pid}").exists()
