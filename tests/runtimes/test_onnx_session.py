"""What is particular to ONNX files."""

import os
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

from runtimes.errors import InputRefused, ModelBroken
from runtimes.opening import open_session
from runtimes.session import ModelFile
from runtimes.tensors import TensorSpec
from tests.runtimes.models import mlp_by_hand, onnx_identity, onnx_mlp, onnx_model, some_rows, value


def test_weights_in_a_file_beside_the_model_are_found(tmp_path):
    model = onnx_mlp(tmp_path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size > model.path.stat().st_size
    rows = some_rows(3)
    np.testing.assert_allclose(open_session(model).run({"x": rows}, ["y"])["y"], mlp_by_hand(rows), atol=1e-4)


def test_a_missing_file_of_weights_is_named(tmp_path):
    model = onnx_mlp(tmp_path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelBroken, match=r"weights\.bin") as refusal:
        open_session(model)
    assert str(tmp_path) not in str(refusal.value)


def test_an_output_that_is_a_sequence_of_maps_says_how_to_export_without_zipmap(tmp_path):
    entry = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    maps = helper.make_value_info("scores", helper.make_sequence_type_proto(entry))
    zipmap = helper.make_node("ZipMap", ["x"], ["scores"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    graph = helper.make_graph([zipmap], "graph", [value("x", "FP32", ["n", 3])], [maps])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=9
    )
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelBroken, match=r"'scores'.*without ZipMap.*'zipmap': False"):
        open_session(ModelFile(path=tmp_path / "model.onnx"))


def test_a_model_of_fixed_size_does_not_batch(tmp_path):
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    path = onnx_model(tmp_path, nodes, [value("x", "FP32", [1, 3])], [value("y", "FP32", [1, 3])])
    description = open_session(ModelFile(path=path)).description
    assert description.inputs[0].shape == (1, 3)
    assert not description.batches


def test_a_shape_that_the_file_leaves_open_is_taken_from_the_declaration(tmp_path):
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    path = onnx_model(tmp_path, nodes, [value("x", "FP32", ["n", 3])], [value("y", "FP32", None)])
    declared = (TensorSpec("y", "FP32", (-1, 3)),)
    assert open_session(ModelFile(path=path, outputs=declared)).description.outputs == declared


def test_bytes_that_are_no_text_are_the_fault_of_the_request(tmp_path):
    session = open_session(onnx_identity(tmp_path, "BYTES"))
    with pytest.raises(InputRefused, match=r"input 'x'.*UTF-8"):
        session.run({"x": np.array([[b"\xff", b"", b""]], object)}, ["y"])


def test_a_thread_count_that_is_no_number_is_refused(tmp_path):
    model = ModelFile(path=onnx_mlp(tmp_path).path, parameters={"intra_op_thread_count": "many"})
    with pytest.raises(ModelBroken, match="intra_op_thread_count is 'many'"):
        open_session(model)


def test_the_runtime_tells_nobody_and_writes_nothing_into_the_home_folder(tmp_path):
    model, home = onnx_mlp(tmp_path), tmp_path / "home"
    home.mkdir()
    script = (
        "import os, sys, time; from pathlib import Path; from runtimes.opening import open_session; "
        "from runtimes.session import ModelFile; open_session(ModelFile(path=Path(sys.argv[1]))); "
        "time.sleep(0.3)"  # its own thread would have begun to write by then
    )
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-c", script, str(model.path)], env=environment | {"HOME": str(home)}, check=True
    )
    assert list(home.rglob("*")) == []
