"""How ONNX models run on a CUDA device; on the processor the same code, as far as it goes without one."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from runtimes.arena import Shrinking
from runtimes.cuda_graphs import PARAMETER, graph_rows, powers
from runtimes.device import CPU, Device
from runtimes.device_memory import device_memory
from runtimes.errors import ModelBroken, RunFailed
from runtimes.onnx_cuda import CudaOnnxSession
from runtimes.onnx_graphs import GraphSession
from runtimes.onnx_session import open_onnx
from runtimes.session import ModelFile, Session
from runtimes.tensors import DATATYPES, Array
from tests.runtimes.models import mlp_by_hand, on, onnx_identity, onnx_mlp, onnx_model, some_rows, value
from tests.runtimes.test_host_buffers import Store, buffers

DEVICES = [CPU, pytest.param(Device("cuda"), marks=pytest.mark.cuda)]
FAR = 1e-2
"""How far a device may be from the processor: it multiplies in TF32."""


def opened(model: ModelFile, device: Device, store: Store | None = None) -> Session:
    if device.kind == "cuda":
        return open_onnx(on(device, model))
    plain = open_onnx(model)
    session = onnxruntime.InferenceSession(model.path, providers=["CPUExecutionProvider"])
    return CudaOnnxSession(
        onnxruntime, session, plain.description, Shrinking(float("inf"), None), buffers(store or Store()), str
    )


def graphs(model: ModelFile, device: Device, *rows: int) -> Session:
    said = ",".join(map(str, rows))
    if device.kind == "cuda":
        return open_onnx(on(device, replace(model, parameters={PARAMETER: said})))
    session = onnxruntime.InferenceSession(model.path, providers=["CPUExecutionProvider"])
    return GraphSession(onnxruntime, session, open_onnx(model).description, model, rows, str)


def close_to(rows: Array, answer: Array) -> None:
    np.testing.assert_allclose(answer, mlp_by_hand(rows), rtol=FAR, atol=5 * FAR)


def repeated(folder: Path) -> ModelFile:
    """Gives two rows for each."""
    nodes = [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)]
    return ModelFile(
        path=onnx_model(folder, nodes, [value("x", "FP32", ["n", 3])], [value("y", "FP32", ["m", 3])])
    )


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_answers_are_those_of_the_weights_and_no_run_writes_over_another(device, tmp_path):
    session = opened(onnx_mlp(tmp_path), device)
    asked = [some_rows(1 + seed % 4, seed) for seed in range(12)]
    answers = [session.run({"x": rows}, ["y"])["y"] for rows in asked]
    for rows, answer in zip(asked, answers, strict=True):
        close_to(rows, answer)
    session.close()


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_instances_share_the_weights_and_each_gets_its_own_answers(device, tmp_path):
    session = opened(onnx_mlp(tmp_path), device)

    def ask(seed: int) -> None:
        rows = some_rows(1 + seed % 5, seed)
        close_to(rows, session.run({"x": rows}, ["y"])["y"])

    with ThreadPoolExecutor(4) as instances:
        list(instances.map(ask, range(200)))
    session.close()


def test_buffers_are_used_again_and_given_back_at_the_end(tmp_path):
    store = Store()
    session = opened(onnx_mlp(tmp_path), CPU, store)
    for seed in range(20):
        session.run({"x": some_rows(3, seed)}, ["y"])
    assert store.made == 2
    session.close()
    assert store.bytes == 0


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "INT64", "UINT8", "BOOL"])
def test_a_datatype_goes_there_and_back_bit_for_bit(device, datatype, tmp_path):
    session = opened(onnx_identity(tmp_path, datatype), device)
    sent = np.array([[1, 0, 1], [0, 1, 1]], DATATYPES[datatype].dtype)
    answer = session.run({"x": sent}, ["y"])["y"]
    assert (answer.dtype, answer.tolist()) == (sent.dtype, sent.tolist())


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_model_that_gives_other_rows_than_it_is_given_is_answered_as_it_says(device, tmp_path):
    session = opened(repeated(tmp_path), device)
    for _ in range(3):
        assert session.run({"x": np.ones((2, 3), np.float32)}, ["y"])["y"].shape == (4, 3)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_failed_run_harms_no_other(device, tmp_path):
    session = opened(onnx_mlp(tmp_path), device)
    with pytest.raises(RunFailed):
        session.run({"x": np.ones((1, 63), np.float32)}, ["y"])
    close_to(some_rows(2), session.run({"x": some_rows(2)}, ["y"])["y"])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_graph_answers_as_the_model_does_and_other_rows_go_without_one(device, tmp_path):
    session = graphs(onnx_mlp(tmp_path), device, 1, 4)
    asked = [some_rows(count, seed) for seed, count in enumerate((1, 4, 3, 4, 1, 9))]
    answers = [session.run({"x": rows}, ["y"])["y"] for rows in asked]
    for rows, answer in zip(asked, answers, strict=True):
        close_to(rows, answer)
    session.close()


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_graph_takes_no_inputs_of_another_shape(device, tmp_path):
    session = graphs(onnx_mlp(tmp_path), device, 2)
    with pytest.raises(RunFailed):
        session.run({"x": some_rows(2).reshape(2, 32, 2)}, ["y"])
    close_to(some_rows(2), session.run({"x": some_rows(2)}, ["y"])["y"])
    session.close()


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_instances_take_turns_on_a_graph(device, tmp_path):
    session = graphs(onnx_mlp(tmp_path), device, 2)

    def ask(seed: int) -> None:
        rows = some_rows(2, seed)
        close_to(rows, session.run({"x": rows}, ["y"])["y"])

    with ThreadPoolExecutor(4) as instances:
        list(instances.map(ask, range(60)))
    session.close()


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_graph_of_shapes_that_vary_is_refused_in_a_sentence(device, tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    tensors = [value("x", "FP32", ["n", "length"])], [value("y", "FP32", ["n", "length"])]
    model = ModelFile(path=onnx_model(tmp_path, nodes, *tensors))
    with pytest.raises(ModelBroken, match=r"one shape each, but 'x' has the shape \[-1, -1\]"):
        graphs(model, device, 1)


def test_graphs_without_a_row_count_are_refused(tmp_path):
    with pytest.raises(ModelBroken, match="graph_spec with a batch_size"):
        graphs(onnx_mlp(tmp_path), CPU, 0)


def test_a_recording_that_answers_otherwise_than_the_model_is_refused(tmp_path):
    """A random number is another one in each run: to a graph it is one that went wrong."""
    noise = helper.make_node("RandomNormalLike", ["x"], ["noise"])
    nodes = [noise, helper.make_node("Mul", ["noise", "much"], ["y"])]
    much = numpy_helper.from_array(np.array(100, np.float32), "much")
    shapes = [value("x", "FP32", ["n", 3])], [value("y", "FP32", ["n", 3])]
    model = ModelFile(path=onnx_model(tmp_path, nodes, *shapes, (much,)))
    with pytest.raises(ModelBroken, match="'y' differs from what a run without a graph gives"):
        graphs(model, CPU, 2)


def test_what_is_asked_of_graphs_is_read():
    model = ModelFile(path=Path("model.onnx"), device=Device("cuda"), parameters={PARAMETER: "8,2"})
    assert graph_rows(model) == (2, 8)
    assert graph_rows(replace(model, device=CPU)) == graph_rows(replace(model, parameters={})) == ()
    with pytest.raises(ModelBroken, match="no list of row counts"):
        graph_rows(replace(model, parameters={PARAMETER: "-1"}))
    assert powers(12) == [1, 2, 4, 8, 12]
    assert powers(0) == [0]


@pytest.mark.cuda
def test_a_closed_model_gives_the_memory_of_the_device_back(tmp_path):
    device = Device("cuda")
    warm = open_onnx(on(device, onnx_mlp(tmp_path)))
    before = device_memory(device)
    weights = numpy_helper.from_array(np.ones((8192, 8192), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    shapes = [value("x", "FP32", ["n", 8192])], [value("y", "FP32", ["n", 8192])]
    (tmp_path / "large").mkdir()
    model = ModelFile(path=onnx_model(tmp_path / "large", nodes, *shapes, (weights,)))
    session = open_onnx(on(device, model))
    session.run({"x": np.ones((4, 8192), np.float32)}, ["y"])
    during = device_memory(device)
    session.close()
    del session
    after = device_memory(device)
    assert before.free_bytes - during.free_bytes > 200 * 2**20
    assert before.free_bytes - after.free_bytes < 64 * 2**20
    warm.close()
