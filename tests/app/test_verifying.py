"""`tercet verify` and `tercet init`, over real files and real trials."""

import json
import re

import numpy as np
import pytest

from server.cli import main
from server.repository.configuration import read_text
from tests.e2e.ensembles import put_ensemble
from tests.e2e.workshop import put
from tests.e2e_lifecycle.candidates import PlusOne, scripted
from tests.lifecycle.life import over
from tests.lifecycle.shelf import plus
from tests.runtimes.models import onnx_mlp
from tests.server_process import SAMPLES, running


def test_a_model_is_told_with_its_file_checks_memory_and_times(capsys):
    assert main(["verify", str(SAMPLES / "iris")]) == 0
    said = capsys.readouterr().out
    for words in (
        "iris version 1: good\n",
        "model.onnx, 13.0 KiB, ONNX opset 17, ai.onnx.ml 1, IR version 8, by skl2onnx",
        "  runtime   onnxruntime",
        "golden example 'one_of_each'; runs of up to 4 rows; a batch of 4 rows against its rows\n",
        "KiB once loaded",
        "  run time  1 row ",
        '{ name: "measurements" data_type: TYPE_FP32 dims: [ 4 ] }',
        "curl -s http://localhost:8000/v2/models/iris/infer -d '{",
    ):
        assert words in said, said


def test_a_repository_is_good_only_if_all_of_it_is(tmp_path, capsys):
    put(tmp_path, "good", plus(1), config="max_batch_size: 2 optimization { priority: PRIORITY_MAX }")
    put(tmp_path, "bad", plus(1), post_py="def postprocess(outputs): return outputs[0]")
    (tmp_path / "bad" / "1" / "examples").mkdir()
    example = {
        "request": {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]},
        "response": {"outputs": [{"name": "y", "shape": [1, 2], "datatype": "FP32", "data": [2, 3]}]},
    }
    (tmp_path / "bad" / "1" / "examples" / "e.json").write_text(json.dumps(example))
    put(tmp_path, "unclear", plus(1), config="max_batch_size: [")
    (tmp_path / "empty").mkdir()
    assert main(["verify", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "bad version 1: NOT GOOD: golden example 'e' is not answered: post.py line 1" in said
    assert "empty: NOT GOOD: holds no version folder" in said
    assert "unclear: NOT GOOD: unclear/config.pbtxt:1:17" in said
    assert "good version 1: good" in said
    assert "  not used  " in said


def test_a_pipeline_reads_the_same_as_json(tmp_path, capsys):
    put(tmp_path, "good", plus(1))
    put(tmp_path, "bad", b"no model")
    put(tmp_path, "unclear", plus(1), config="max_batch_size: [")
    assert main(["verify", str(tmp_path), "--json"]) == 1
    bad, good, unclear = json.loads(capsys.readouterr().out)
    assert (unclear["model"], unclear["version"], unclear["good"]) == ("unclear", None, False)
    assert unclear["reason"].startswith("unclear/config.pbtxt:1:17")
    assert (bad["model"], bad["good"]) == ("bad", False)
    assert bad["reason"].startswith("model.onnx cannot be loaded")
    assert (good["model"], good["version"], good["good"]) == ("good", 1, True)
    assert good["run_seconds"].keys() == {"1", "2", "4"}
    assert good["peak_bytes"] >= good["loaded_bytes"]
    assert good["described"]["max_batch_size"] == 4


def test_a_version_that_does_not_end_is_stopped_when_told(tmp_path, capsys):
    put(tmp_path, "stuck", plus(1), pre_py="import time\ntime.sleep(600)")
    assert main(["verify", str(tmp_path), "--timeout=1"]) == 1
    assert "stopped at loading (pre.py line 2, in <module>)" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_where_nothing_is_to_verify_that_is_said(tmp_path, capsys, folder):
    assert main(["verify", str(tmp_path / folder)]) == 1
    assert re.match("tercet: .* (holds no model|cannot be read)", capsys.readouterr().err)


def test_a_version_without_a_model_file_says_who_tries_it(tmp_path, capsys):
    chain = over("m")
    for name in ("plain", "asked"):
        put_ensemble(tmp_path, name, chain)
    (tmp_path / "asked" / "1" / "examples").mkdir()
    (tmp_path / "asked" / "1" / "examples" / "one.json").write_text("{}")
    put_ensemble(tmp_path, "around", 'backend: "remote"\n')
    (tmp_path / "around" / "1" / "pre.py").write_text("def preprocess(inputs):\n    return inputs\n")
    assert main(["verify", str(tmp_path), "--json"]) == 0
    told = {each["model"]: each["file"] for each in json.loads(capsys.readouterr().out)}
    assert told == {
        "plain": "an ensemble, which its members stand for",
        "asked": "an ensemble, which its members stand for; a server asks its golden examples over them",
        "around": "code around a model on another server: a tier tries it when it loads it",
    }


def test_the_configuration_shown_is_one_that_can_be_read(capsys):
    main(["verify", str(SAMPLES / "iris"), "--json"])
    (report,) = json.loads(capsys.readouterr().out)
    config = read_text(report["config"].encode(), "iris", "iris/config.pbtxt").config
    assert config.max_batch_size == 4
    assert config.dynamic_batching is not None
    assert [tensor.reshape for tensor in config.outputs] == [(), None]


# init


def test_a_model_file_becomes_a_folder_that_a_server_serves(tmp_path, capsys):
    (tmp_path / "fraud.onnx").write_bytes(plus(1))
    repository = tmp_path / "models"
    assert main(["init", str(tmp_path / "fraud.onnx"), "--repository", str(repository)]) == 0
    assert "fraud version 1: good" in capsys.readouterr().out
    made = {str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file()}
    assert made == {"fraud/config.pbtxt", "fraud/1/model.onnx", "fraud/1/examples/made_up.json"}
    config = (repository / "fraud" / "config.pbtxt").read_text()
    assert "max_batch_size: 4  # rows in one run" in config
    assert main(["verify", str(repository)]) == 0
    asked = re.search(r"curl -s http://localhost:8000(\S+) -d '(.*)'", capsys.readouterr().out)
    with running(tmp_path / "log", repository, options=["--verify-models=true"]) as server:
        answer = server.client.post(asked[1], content=asked[2]).json()
    sent = json.loads(asked[2])["inputs"][0]["data"]
    np.testing.assert_allclose(answer["outputs"][0]["data"], np.float32(sent) + 1, rtol=1e-6)


def test_nothing_is_overwritten_and_nothing_is_left_of_a_failure(tmp_path, capsys):
    (tmp_path / "m.onnx").write_bytes(plus(1))
    (tmp_path / "bad.onnx").write_bytes(plus(1)[:50])
    repository = tmp_path / "models"
    main(["init", str(tmp_path / "m.onnx"), "--repository", str(repository)])
    before = (repository / "m" / "config.pbtxt").stat()
    capsys.readouterr()
    assert main(["init", str(tmp_path / "m.onnx"), "--repository", str(repository)]) == 1
    assert "is there already, and is left as it is" in capsys.readouterr().err
    assert (repository / "m" / "config.pbtxt").stat() == before
    assert main(["init", str(tmp_path / "bad.onnx"), "--repository", str(repository)]) == 1
    assert "bad.onnx is not all there" in capsys.readouterr().err
    assert [path.name for path in repository.iterdir()] == ["m"]


def test_weights_beside_the_file_come_along(tmp_path, capsys):
    (tmp_path / "from").mkdir()
    onnx_mlp(
        tmp_path / "from",
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location="w.bin",
        size_threshold=0,
    )
    assert (
        main(["init", str(tmp_path / "from" / "model.onnx"), "--repository", str(tmp_path / "models")]) == 0
    )
    assert (tmp_path / "models" / "from" / "1" / "w.bin").is_file()


def test_what_a_torchscript_file_does_not_say_is_asked_for(tmp_path, capsys):
    (tmp_path / "model.pt").write_bytes(scripted(PlusOne()))
    words = ["init", str(tmp_path / "model.pt"), "--repository", str(tmp_path / "models"), "--name=plus"]
    assert main(words) == 1
    assert "name its inputs with --input NAME:TYPE:DIMS" in capsys.readouterr().err
    assert main([*words, "--input", "x:FP32:2"]) == 0
    config = (tmp_path / "models" / "plus" / "config.pbtxt").read_text()
    assert '{ name: "x" data_type: TYPE_FP32 dims: [ 2 ] }' in config
    assert '{ name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 2 ] }' in config


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["no.onnx"], 1, "there is no file no.onnx"),
        (["m.txt"], 2, "m.txt is no .onnx and no .pt file"),
        (["m.onnx", "--name=7"], 2, "'7' cannot be the name"),
        (["m.onnx", "--name=../up"], 2, "cannot be the name"),
        (["m.onnx", "--input=x"], 2, "--input x: must be NAME:TYPE:DIMS"),
    ],
)
def test_what_cannot_be_made_is_said(words, code, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(plus(1))
    assert main(["init", *words]) == code
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "models" / "m").exists()


def test_what_its_code_needs_and_the_environment_lacks_is_told_before_it_is_deployed(tmp_path, capsys):
    code = "import nobody_at_all\ndef preprocess(inputs): return inputs\n"
    put(tmp_path, "needy", plus(1), pre_py=code)
    (tmp_path / "needy" / "requirements.txt").write_text("numpy>=2\nnobody-at-all>=3\n")
    assert main(["verify", str(tmp_path / "needy")]) == 1
    assert (
        "needy version 1: NOT GOOD: requirements.txt asks for what the server's environment has not: "
        "nobody-at-all>=3 is not installed. "
    ) in capsys.readouterr().out
    (tmp_path / "needy" / "requirements.txt").write_text("numpy>=2\n")
    (tmp_path / "needy" / "1" / "pre.py").write_text(code.partition("\n")[2])
    assert main(["verify", str(tmp_path / "needy")]) == 0
