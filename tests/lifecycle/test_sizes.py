"""How much memory a version takes, as measured, against models whose size is known."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from runtimes.device import CPU, Device
from runtimes.device_memory import device_memory
from runtimes.memory import trim
from runtimes.opening import open_session
from runtimes.session import ModelFile
from server.domain.configuration import ModelConfig, Platform, TensorConfig
from server.lifecycle.ending import Limits
from server.lifecycle.load_meter import LoadMeter
from server.lifecycle.memory import forget_peak, own_bytes, peak_bytes
from server.lifecycle.trials import Trials
from server.lifecycle.verdicts import Verdicts
from tests.e2e.workshop import FLOAT, value, written
from tests.lifecycle.shelf import Shelf, plus

MIB = 2**20
WIDTH = 1024


def table(mebibytes: int) -> bytes:
    """Looks rows up in a table of that size; an answer has 4 KiB a row."""
    rows = mebibytes * MIB // (4 * WIDTH)
    return written(
        [helper.make_node("Gather", ["table", "row"], ["y"])],
        [value("row", TensorProto.INT64, "n")],
        [value("y", FLOAT, "n", WIDTH)],
        table=np.random.default_rng(0).standard_normal((rows, WIDTH), np.float32),
    )


def layers(mebibytes: int) -> bytes:
    """Four square matrices, which the runtime lays out anew for its kernels."""
    side = int((mebibytes * MIB / 16) ** 0.5)
    chance = np.random.default_rng(0)
    weights = {f"w{n}": chance.standard_normal((side, side), np.float32) / side for n in range(4)}
    between = ["x", "a", "b", "c", "y"]
    nodes = [helper.make_node("MatMul", [between[n], f"w{n}"], [between[n + 1]]) for n in range(4)]
    return written(nodes, [value("x", FLOAT, "n", side)], [value("y", FLOAT, "n", side)], **weights)


def positive(folder: Path) -> bytes:
    """y = max(x, 0), in TorchScript."""
    torch = pytest.importorskip("torch")
    path = folder / "positive.pt"
    torch.jit.trace(torch.nn.ReLU(), torch.ones(2)).save(str(path))
    return path.read_bytes()


@pytest.mark.parametrize(("make", "mebibytes"), [(table, 24), (layers, 48)])
async def test_a_trial_measures_a_model_of_known_size_within_a_fifth(tmp_path, make, mebibytes):
    shelf = Shelf(tmp_path / "m")
    version = shelf.put(model=make(mebibytes))
    trials = Trials(Verdicts(), limits=Limits(timeout_s=60, memory_bytes=2**30), at_once=1)
    verdict = await trials.verdict(shelf.offer(version), version)
    trials.close()
    assert verdict.reason == ""
    assert 0.8 * mebibytes * MIB < verdict.loaded_bytes < 1.2 * mebibytes * MIB
    assert verdict.peak_bytes >= verdict.loaded_bytes


@pytest.mark.parametrize("file_name", ["model.onnx", "model.pt"])
async def test_a_model_of_next_to_nothing_does_not_count_what_the_first_model_of_a_process_costs(
    tmp_path, file_name
):
    """An ONNX model of this kind was counted as 7 MiB, where each adds 71 KiB to a server."""
    is_onnx = file_name.endswith(".onnx")
    shelf = Shelf(tmp_path / "m")
    version = shelf.put(model=plus(1.0) if is_onnx else positive(tmp_path), file_name=file_name)
    config = ModelConfig(
        name="m",
        platform=None if is_onnx else Platform.TORCHSCRIPT,
        inputs=() if is_onnx else (TensorConfig(name="x", datatype="FP32", dims=(2,)),),
        outputs=() if is_onnx else (TensorConfig(name="y", datatype="FP32", dims=(2,)),),
    )
    trials = Trials(Verdicts(), limits=Limits(timeout_s=60, memory_bytes=2**30), at_once=1)
    verdict = await trials.verdict(shelf.offer(version, config=config), version)
    trials.close()
    assert verdict.reason == ""
    assert verdict.run_seconds
    assert 32 * 1024 <= verdict.loaded_bytes + verdict.run_bytes < MIB // 2


async def test_a_trial_measures_what_the_largest_batch_takes_beside_the_model(tmp_path):
    """Each row is spread to 256 KiB in between, so a batch of 64 takes 16 MiB and a little."""
    wide = written(
        [
            helper.make_node("Expand", ["x", "shape"], ["spread"]),
            helper.make_node("ReduceSum", ["spread", "axis"], ["y"], keepdims=0),
        ],
        [value("x", FLOAT, "n", 1)],
        [value("y", FLOAT, "n")],
        shape=np.array([1, 2**16], np.int64),
        axis=np.array([1], np.int64),
    )
    shelf = Shelf(tmp_path / "m")
    version = shelf.put(model=wide)
    offer = shelf.offer(version, config=ModelConfig(name="m", max_batch_size=64))
    trials = Trials(Verdicts(), limits=Limits(timeout_s=60, memory_bytes=2**30), at_once=1)
    verdict = await trials.verdict(offer, version)
    trials.close()
    assert verdict.reason == ""
    assert 16 * MIB <= verdict.run_bytes < 48 * MIB, "the arena keeps what smaller batches took, too"


def opened(folder: Path, model: bytes, device: Device = CPU):
    path = folder / "model.onnx"
    path.write_bytes(model)
    return open_session(ModelFile(path=path, device=device))


def test_a_load_alone_is_seen_in_the_process_that_serves(tmp_path):
    opened(tmp_path, table(1)).close()  # the runtime itself comes first, and is nobody's
    with LoadMeter().around([CPU], tmp_path) as watched:
        session = opened(tmp_path, table(32))
    assert watched.reading.alone
    assert 0.8 * 32 * MIB < watched.reading.grown["cpu"] < 1.2 * 32 * MIB
    session.close()


def test_loads_at_the_same_time_cannot_be_told_apart_and_say_so(tmp_path):
    meter, began, ends = LoadMeter(), threading.Event(), threading.Event()

    def other() -> None:
        with meter.around([], tmp_path):
            began.set()
            assert ends.wait(30)

    with meter.around([CPU], tmp_path) as first:
        thread = threading.Thread(target=other)
        thread.start()
        assert began.wait(30)
    with meter.around([CPU], tmp_path) as second:
        pass
    ends.set()
    thread.join()
    with meter.around([CPU], tmp_path) as third:
        pass
    assert [each.reading.alone for each in (first, second, third)] == [False, False, True]


def test_mapped_files_of_a_model_count_as_its_own_and_those_of_others_do_not(tmp_path):
    inside, beside = tmp_path / "m", tmp_path / "m-2"
    for folder in (inside, beside):
        folder.mkdir()
        (folder / "weights").write_bytes(bytes(8 * MIB))
    maps = [np.memmap(folder / "weights", np.uint8, "r") for folder in (inside, beside)]
    assert [int(each.sum()) for each in maps] == [0, 0]  # touched: in memory now
    assert own_bytes(inside) - own_bytes(tmp_path / "none") == pytest.approx(8 * MIB, rel=0.1)


def test_the_peak_can_be_counted_anew():
    def use(mebibytes: int) -> None:
        assert bytearray(b"1") * (mebibytes * MIB)

    use(64)
    trim()
    is_offered = os.access("/proc/self/clear_refs", os.W_OK)
    assert forget_peak() == is_offered
    low = peak_bytes()
    use(32)
    grown = peak_bytes() - low
    assert (24 * MIB < grown < 48 * MIB) if is_offered else grown == 0, "64 were in use before"


@pytest.mark.cuda
def test_a_cuda_device_tells_what_a_load_took_of_it(tmp_path):
    device = Device("cuda", 0)
    warm = opened(tmp_path, table(1), device)  # the context of the process comes first, and is nobody's
    with LoadMeter().around([device], tmp_path) as watched:
        session = opened(tmp_path, table(256), device)
    assert 0.8 * 256 * MIB < watched.reading.grown["cuda:0"] < 1.2 * 256 * MIB
    memory = device_memory(device)
    assert memory is not None
    assert 0 < memory.free_bytes < memory.total_bytes
    for each in (warm, session):
        each.close()


def test_there_is_nothing_to_tell_of_a_device_that_is_not_there():
    assert device_memory(Device("cuda", 999)) is None
    assert device_memory(CPU) is None
