"""A folder that is one model's is shown as a repository under the name that it was given."""

from pathlib import PurePath

import pytest

from server.app.lone_model import Shape, named, shape_of
from server.app.refused import StartRefused


@pytest.mark.parametrize(
    ("files", "shape"),
    [
        ([], Shape.REPOSITORY),
        (["README.md", "labels.txt"], Shape.REPOSITORY),
        (["model.onnx"], Shape.VERSION),
        (["resnet50.onnx", "config.pbtxt", "pre.py"], Shape.VERSION),
        (["weights.pt"], Shape.VERSION),
        (["train.py", "exports.py"], Shape.REPOSITORY),
        (["1/model.onnx"], Shape.MODEL),
        (["config.pbtxt", "3/model.pt", "4/model.pt"], Shape.MODEL),
        (["1/config.pbtxt", "1/1"], Shape.REPOSITORY),
        (["0/model.onnx"], Shape.REPOSITORY),
    ],
)
def test_the_files_tell_a_repository_from_a_model_and_from_a_version(files, shape):
    assert shape_of(map(PurePath, files)) is shape


def test_a_repository_is_left_as_it_is_whatever_the_name(tmp_path):
    (tmp_path / "fraud" / "1").mkdir(parents=True)
    (tmp_path / "fraud" / "1" / "model.onnx").touch()
    with named(tmp_path, "resnet") as repository:
        assert repository == tmp_path


def test_version_folders_become_the_model_that_was_named(tmp_path):
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "model.onnx").write_bytes(b"x")
    (tmp_path / "config.pbtxt").touch()
    with named(tmp_path, "resnet") as repository:
        assert (repository / "resnet" / "2" / "model.onnx").read_bytes() == b"x"
        assert (repository / "resnet" / "config.pbtxt").is_file()
        assert [each.name for each in repository.iterdir()] == ["resnet"]
    assert not repository.exists()
    assert (tmp_path / "2" / "model.onnx").is_file()


def test_a_file_alone_becomes_version_1_with_its_configuration_beside_it(tmp_path):
    (tmp_path / "squeezenet.onnx").write_bytes(b"x")
    (tmp_path / "config.pbtxt").touch()
    with named(tmp_path, "resnet") as repository:
        assert (repository / "resnet" / "1" / "squeezenet.onnx").read_bytes() == b"x"
        assert (repository / "resnet" / "config.pbtxt").is_file()


def test_without_a_name_one_model_is_left_as_it_is(tmp_path):
    (tmp_path / "model.onnx").touch()
    with named(tmp_path, "") as repository:
        assert repository == tmp_path


def test_a_repository_that_is_not_there_just_now_is_left_to_the_scanner(tmp_path):
    with named(tmp_path / "share", "resnet") as repository:
        assert repository == tmp_path / "share"


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden"])
def test_a_name_that_no_folder_can_have_is_refused(tmp_path, name):
    (tmp_path / "model.onnx").touch()
    with pytest.raises(StartRefused, match="--model-name is"), named(tmp_path, name):
        pass
