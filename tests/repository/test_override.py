"""A model as a load request brings it."""

import pytest

from server.domain.configuration import Platform
from server.repository.invalid import ConfigInvalid
from server.repository.override import OverrideInvalid, override


def test_a_configuration_alone_replaces_the_one_on_disk(repository, tmp_path):
    repository.put("m", config="max_batch_size: 1")
    offer = override("m", '{"max_batch_size": 8}', {}, tmp_path, repository.path / "m")
    assert offer.config.max_batch_size == 8
    assert offer.versions[1].model_file == repository.path / "m/1/model.onnx"


def test_files_are_the_whole_model_and_never_touch_the_repository(repository, tmp_path, model_bytes):
    repository.put("m", 7)
    before = sorted(repository.path.rglob("*"))
    private = tmp_path / "private"
    private.mkdir()
    files = {"1/model.onnx": model_bytes, "1/examples/a.json": b"{}"}
    offer = override("m", '{"backend": "onnxruntime"}', files, private, repository.path / "m")
    version = offer.versions[1]
    assert set(offer.versions) == {1}
    assert offer.config.platform is Platform.ONNX
    assert version.model_file.read_bytes() == model_bytes
    assert version.model_file.is_relative_to(private)
    assert version.examples[0].read_bytes() == b"{}"
    assert sorted(repository.path.rglob("*")) == before


def test_the_same_files_brought_twice_have_one_fingerprint(tmp_path, model_bytes):
    offers = [override("m", "{}", {"1/model.onnx": model_bytes}, tmp_path, None) for _ in range(2)]
    assert offers[0].directory != offers[1].directory
    assert offers[0].versions[1].fingerprint == offers[1].versions[1].fingerprint


def test_files_that_are_no_model_are_offered_for_the_loader_to_say_why(tmp_path):
    assert set(override("m", "{}", {"1/model.onnx": b"?"}, tmp_path, None).versions) == {1}


@pytest.mark.parametrize(
    "path",
    [
        "../1/model.onnx",
        "1/../../model.onnx",
        "/1/model.onnx",
        "1//model.onnx",
        "1/./model.onnx",
        "1\\model.onnx",
        "1/a\0b",
        "",
        "1",
        "1/",
        "model.onnx",
        "01/model.onnx",
        "0/model.onnx",
        "x/model.onnx",
        "1/.hidden",
    ],
)
def test_a_path_that_could_leave_its_version_folder_is_refused_and_nothing_is_written(tmp_path, path):
    with pytest.raises(OverrideInvalid):
        override("m", "{}", {"1/model.onnx": b"", path: b"x"}, tmp_path, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", ["..", ".", "", "a/b", "/a", "a\\b"])
def test_a_name_that_is_no_folder_is_refused(tmp_path, model):
    with pytest.raises(OverrideInvalid):
        override(model, "{}", {"1/model.onnx": b""}, tmp_path, None)


def test_files_that_get_in_each_others_way_are_refused_and_removed(tmp_path):
    with pytest.raises(OverrideInvalid, match="cannot be written"):
        override("m", "{}", {"1/a": b"", "1/a/b": b""}, tmp_path, None)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_for_a_model_that_is_nowhere_needs_files(tmp_path):
    with pytest.raises(OverrideInvalid, match="in no repository"):
        override("m", "{}", {}, tmp_path, None)


def test_a_configuration_that_makes_no_sense_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigInvalid, match="max_batch_size: is -1"):
        override("m", '{"max_batch_size": -1}', {"1/model.onnx": b""}, tmp_path, None)
    assert list(tmp_path.iterdir()) == []
