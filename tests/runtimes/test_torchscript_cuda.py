"""How TorchScript models run on a CUDA device; on the processor the same code, without streams."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from runtimes.device import Device
from runtimes.device_memory import device_memory
from runtimes.errors import RunFailed
from runtimes.opening import open_session
from runtimes.session import ModelFile
from runtimes.torchscript_cuda import Lane
from tests.runtimes.models import mlp_by_hand, on, some_rows, torch_identity, torch_mlp, values_of
from tests.runtimes.test_host_buffers import Store, buffers

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
FAR = 1e-2


def module() -> torch.nn.Module:
    return torch.jit.script(torch.nn.Linear(3, 2)).eval()


@pytest.mark.parametrize("device", DEVICES)
def test_answers_stand_in_buffers_of_their_own_and_inputs_stay_as_they_are(device):
    store = Store()
    lane, linear = Lane(torch, torch.device(device), buffers(store)), module().to(device)
    weights, bias = (each.detach().cpu().numpy() for each in linear.parameters())
    asked = [np.random.default_rng(seed).standard_normal((4, 3)).astype(np.float32) for seed in range(6)]
    for rows in asked:
        rows.flags.writeable = False
    with torch.inference_mode():
        answers = [lane.run({"x": rows}, lambda tensors: linear(tensors["x"]))[0] for rows in asked]
    for rows, answer in zip(asked, answers, strict=True):
        np.testing.assert_allclose(answer, rows @ weights.T + bias, rtol=FAR, atol=FAR)
    del answer, answers
    lane.close()
    assert store.bytes == 0


@pytest.mark.parametrize("device", DEVICES)
def test_dicts_tuples_and_what_is_no_tensor(device):
    lane = Lane(torch, torch.device(device), buffers(Store()))
    rows = {"x": np.arange(6, dtype=np.float16).reshape(2, 3)}
    named = lane.run(rows, lambda tensors: {"twice": tensors["x"] * 2, "turned": tensors["x"].T})
    assert named["twice"].tolist() == [[0, 2, 4], [6, 8, 10]]
    assert named["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert lane.run(rows, lambda tensors: (tensors["x"], tensors["x"] + 1))[1][0, 0] == 1
    with pytest.raises(RunFailed, match="returned a int"):
        lane.run(rows, lambda tensors: (1,))


@pytest.mark.cuda
@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "INT64", "BOOL"])
def test_a_datatype_goes_there_and_back_bit_for_bit(datatype, tmp_path):
    session = open_session(on(Device("cuda"), torch_identity(tmp_path, datatype)))
    sent = values_of(datatype)
    answer = session.run({"x": sent}, ["y"])["y"]
    assert (answer.dtype, answer.tolist()) == (sent.dtype, sent.tolist())


@pytest.mark.cuda
def test_instances_are_streams_over_one_module(tmp_path):
    session = open_session(on(Device("cuda"), torch_mlp(tmp_path)))

    def ask(seed: int) -> None:
        rows = some_rows(1 + seed % 5, seed)
        answer = session.run({"x": rows}, ["y"])["y"]
        np.testing.assert_allclose(answer, mlp_by_hand(rows), rtol=FAR, atol=5 * FAR)

    with ThreadPoolExecutor(4) as instances:
        list(instances.map(ask, range(200)))
    session.close()


@pytest.mark.cuda
def test_a_closed_module_gives_the_memory_of_the_device_back(tmp_path):
    device = Device("cuda")
    open_session(on(device, torch_mlp(tmp_path))).close()
    before = device_memory(device)
    model = on(device, torch_mlp(tmp_path))
    torch.jit.script(torch.nn.Linear(8192, 8192)).save(model.path)
    rows = {"x": np.ones((4, 8192), np.float32)}
    session = open_session(ModelFile(path=model.path, device=device, samples=rows))
    session.run(rows, ["OUTPUT__0"])
    during = device_memory(device)
    session.close()
    assert before.free_bytes - during.free_bytes > 200 * 2**20
    assert before.free_bytes - device_memory(device).free_bytes < 64 * 2**20
