"""Whether the time of a run hangs on the shapes of its inputs alone: told by the file, before any run."""

from pathlib import Path

import pytest
import torch
from onnx import TensorProto, helper

from runtimes.opening import open_session
from runtimes.session import ModelFile
from runtimes.tensors import TensorSpec
from tests.runtimes.models import onnx_mlp

FLOATS = TensorSpec("x", "FP32", (-1, 4))


def scripted(folder: Path, module: torch.nn.Module) -> ModelFile:
    path = folder / "model.pt"
    torch.jit.script(module).save(str(path))
    return ModelFile(path=path, inputs=(FLOATS,), outputs=(TensorSpec("OUTPUT__0", "FP32", (-1, 4)),))


def test_a_plain_network_is_steady(tmp_path):
    assert open_session(onnx_mlp(tmp_path)).description.steady


@pytest.mark.parametrize("operator", ["If", "Loop"])
def test_an_onnx_model_with_a_loop_or_a_branch_is_not(tmp_path, operator):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 4]) for name in "xy")
    if operator == "If":
        flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
        branch = [
            helper.make_graph(
                [helper.make_node(kind, ["x"], [name])],
                kind,
                [],
                [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 4])],
            )
            for kind, name in (("Neg", "a"), ("Abs", "b"))
        ]
        nodes = [helper.make_node("If", ["flag"], ["y"], then_branch=branch[0], else_branch=branch[1])]
        inputs = [x, flag]
    else:
        rounds = helper.make_tensor_value_info("rounds", TensorProto.INT64, [])
        body = helper.make_graph(
            [
                helper.make_node("Add", ["state", "state"], ["next"]),
                helper.make_node("Identity", ["going"], ["goes"]),
            ],
            "body",
            [
                helper.make_tensor_value_info("round", TensorProto.INT64, []),
                helper.make_tensor_value_info("going", TensorProto.BOOL, []),
                helper.make_tensor_value_info("state", TensorProto.FLOAT, [None, 4]),
            ],
            [
                helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
                helper.make_tensor_value_info("next", TensorProto.FLOAT, [None, 4]),
            ],
        )
        nodes = [helper.make_node("Loop", ["rounds", "", "x"], ["y"], body=body)]
        inputs = [x, rounds]
    graph = helper.make_graph(nodes, "g", inputs, [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert not open_session(ModelFile(path=path)).description.steady


def test_a_torchscript_model_with_a_loop_over_a_value_is_not(tmp_path):
    class Repeating(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(int(x[0, 0])):
                x = x + 1
            return x

    class Plain(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert not open_session(scripted(tmp_path / "a", Repeating())).description.steady
    assert open_session(scripted(tmp_path / "b", Plain())).description.steady
