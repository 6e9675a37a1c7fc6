"""What of a GPU reaches the clients: the networks in both runtimes, and what is said without a device."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from benchmarks.findings import verdicts
from benchmarks.gpu import __main__ as program
from benchmarks.gpu.aims import AIMS, MEASURED
from benchmarks.gpu.graphs import graph, lay
from benchmarks.gpu.limit import Task, close, measure
from benchmarks.gpu.networks import NETWORKS, Network
from benchmarks.gpu.twins import twin


@pytest.fixture(params=MEASURED, ids=" ".join)
def measured(request: pytest.FixtureRequest) -> tuple[Network, str]:
    name, dtype = request.param
    return NETWORKS[name](quick=True), dtype


def test_a_network_is_the_same_in_both_runtimes(measured):
    network, dtype = measured
    session = onnxruntime.InferenceSession(
        graph(network, dtype).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows = network.row(3, dtype)
    answer = session.run(["OUTPUT"], {"INPUT": rows})[0]
    with torch.inference_mode():
        again = twin(network, dtype, "cpu", 2)(torch.from_numpy(rows)).numpy()
    assert (answer.shape, answer.dtype) == ((3, network.writes), np.dtype(dtype))
    assert close(again, answer.ravel().tolist())
    assert np.abs(answer).max() > 0.01
    assert not close(again[::-1], answer.ravel().tolist())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "millions"), [("resnet50", 25.5), ("bert_base", 108.4)])
def test_at_full_size_a_network_has_the_weights_of_its_class(name, millions):
    made = graph(NETWORKS[name](quick=False), "float16")
    weights = sum(int(np.prod(each.dims)) for each in made.graph.initializer)
    assert weights / 1e6 == pytest.approx(millions, rel=0.01)


def test_the_best_batch_is_looked_for_and_then_kept(tmp_path):
    network = NETWORKS["tiny"](quick=True)
    task = Task(
        runtime="bare",
        network="tiny",
        dtype="float32",
        device="cpu",
        quick=True,
        file=str(lay(network, "float32", "cpu", tmp_path)),
        seconds=0.01,
    )
    found = measure(task)
    assert found.rows in (1, 2, 4, 8, 16, 32)
    assert found.rows_per_s > 0
    assert len(found.answer) == 10


def test_a_served_network_has_two_instances_on_a_gpu(tmp_path):
    file = lay(NETWORKS["bert_base"](quick=True), "float16", "cuda", tmp_path)
    assert onnx.load(file).graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert "kind: KIND_GPU count: 2" in (file.parents[1] / "config.pbtxt").read_text()


def test_every_promise_has_one_line_whether_it_was_measured_or_not():
    lines = list(verdicts(AIMS, {"resnet50 float16 share": 0.96, "tiny float32 torch": 0.5}))
    assert len(lines) == len(AIMS) == len(set(lines))
    assert sum(line.endswith(" met") for line in lines) == 1
    assert sum("falls short" in line for line in lines) == 1


def test_without_a_device_it_says_so_in_a_sentence_and_ends_with_2():
    asked = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"],
        cwd=Path(program.__file__).parents[2],
        env={"PATH": "", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert (asked.returncode, asked.stdout) == (2, "")
    assert asked.stderr.startswith("there is no CUDA device here")
    assert len(asked.stderr.splitlines()) == 1
