"""Telling a whole model file from the head of one."""

import zipfile
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from server.repository.container import SMALL, is_complete


def test_an_onnx_file_is_complete_at_its_last_byte_and_not_before(tmp_path: Path, model_bytes: bytes):
    file = tmp_path / "model.onnx"
    file.write_bytes(model_bytes)
    assert is_complete(file)
    for size in range(len(model_bytes)):
        file.write_bytes(model_bytes[:size])
        assert not is_complete(file), size


@pytest.mark.parametrize("size", [SMALL - 1, SMALL, SMALL + 1, 3 * SMALL])
def test_a_file_of_any_size_is_complete_at_its_last_byte(tmp_path: Path, size: int):
    file = tmp_path / "model.onnx"
    model = helper.make_model(helper.make_graph([], "g", [], []))
    model.doc_string = "." * (size - len(model.SerializeToString()) - 4)
    whole = model.SerializeToString()
    assert len(whole) == size
    file.write_bytes(whole)
    assert is_complete(file)
    for cut in (1, 10, 100, size // 2):
        file.write_bytes(whole[:-cut])
        assert not is_complete(file), cut


@pytest.mark.parametrize("content", [b"", b"no model", b"\0" * 500, b"\xff" * 500, b"<html></html>"])
def test_other_content_is_not_an_onnx_file(tmp_path: Path, content: bytes):
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    assert not is_complete(file)


def test_a_torchscript_file_is_complete_once_its_directory_is_written(tmp_path: Path):
    file = tmp_path / "model.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", b"x" * 1000)
    whole = file.read_bytes()
    assert is_complete(file)
    for size in range(0, len(whole), 7):
        file.write_bytes(whole[:size])
        assert not is_complete(file), size


def test_external_data_must_be_there_and_long_enough(tmp_path: Path):
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "weights.bin", "offset": "100", "length": "16"}.items():
        weight.external_data.add(key=key, value=value)
    graph = helper.make_graph([], "g", [], [], [weight])
    (tmp_path / "model.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    assert not is_complete(tmp_path / "model.onnx")
    (tmp_path / "weights.bin").write_bytes(b"\0" * 115)
    assert not is_complete(tmp_path / "model.onnx")
    (tmp_path / "weights.bin").write_bytes(b"\0" * 116)
    assert is_complete(tmp_path / "model.onnx")


def test_files_of_other_kinds_have_no_container_to_look_at(tmp_path: Path):
    (tmp_path / "model.py").write_text("")
    assert is_complete(tmp_path / "model.py")


def test_an_archive_with_a_spoilt_table_of_contents_is_not_complete(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("café/data.pkl", b"x")
    content = path.read_bytes()
    at = content.rindex("café".encode())
    path.write_bytes(content[:at] + b"\xff" * 5 + content[at + 5 :])
    assert not is_complete(path)
