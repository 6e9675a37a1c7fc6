"""One place where a model runs, over a real session."""

import asyncio
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from time import monotonic_ns

import numpy as np
import pytest

from runtimes.errors import RunFailed, RuntimeBusy
from runtimes.opening import open_session
from runtimes.session import ModelFile
from server.api.reply import refuse
from server.domain.configuration import ModelConfig, TensorConfig
from server.domain.errors import InvalidRequest, RuntimeFull
from server.lifecycle.instance import Instance
from server.observe.tally import Fill
from server.scheduling.counting import reason_of
from server.scheduling.run import Manner, Run
from server.scheduling.ticket import Ticket
from server.wire.codes import CODES
from tests.e2e.workshop import echo
from tests.lifecycle.shelf import plus
from tests.lifecycle.waiting import until

X, Y = (TensorConfig(name=name, datatype="FP32", dims=(2,)) for name in "xy")
FLAT = ModelConfig(name="m", max_batch_size=4, inputs=(X,), outputs=(Y,))
ROW = np.array([[1, 2]], np.float32)


def instance(folder: Path, config: ModelConfig = FLAT, model: bytes | None = None) -> Instance:
    path = folder / "model.onnx"
    path.write_bytes(model or plus(10))
    return Instance(f"an instance in {folder.name}", "cpu", open_session(ModelFile(path=path)), config)


def threads_of(folder: Path) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"an instance in {folder.name}"]


async def test_a_run_on_the_calling_thread_gives_the_configured_outputs(tmp_path):
    assert instance(tmp_path).run({"x": ROW})["y"].tolist() == [[11, 12]]
    assert threads_of(tmp_path) == [], "a thread is made when the first run is handed to it"


async def test_tensors_are_reshaped_between_the_clients_view_and_the_models(tmp_path):
    square = TensorConfig(name="x", datatype="FP32", dims=(1, 2), reshape=(2,))
    column = TensorConfig(name="y", datatype="FP32", dims=(2, 1), reshape=(2,))
    config = ModelConfig(name="m", max_batch_size=4, inputs=(square,), outputs=(column,))
    outputs = instance(tmp_path, config).run({"x": np.ones((3, 1, 2), np.float32)})
    assert outputs["y"].tolist() == [[[11], [11]]] * 3


async def test_without_a_batch_dimension_a_reshape_is_of_the_whole_tensor(tmp_path):
    line = TensorConfig(name="x", datatype="FP32", dims=(4,), reshape=(2, 2))
    back = TensorConfig(name="y", datatype="FP32", dims=(4,), reshape=(2, 2))
    config = ModelConfig(name="m", max_batch_size=0, inputs=(line,), outputs=(back,))
    outputs = instance(tmp_path, config).run({"x": np.arange(4, dtype=np.float32)})
    assert outputs["y"].tolist() == [10, 11, 12, 13]


async def test_a_value_that_the_runtime_cannot_hold_is_the_callers_fault(tmp_path):
    said, heard = (TensorConfig(name=name, datatype="BYTES", dims=(1,)) for name in ("said", "heard"))
    config = ModelConfig(name="m", max_batch_size=4, inputs=(said,), outputs=(heard,))
    with pytest.raises(InvalidRequest, match="input 'said' has an element that is not UTF-8"):
        instance(tmp_path, config, echo()).run({"said": np.array([[b"\xff"]], object)})


async def test_what_the_model_raises_stays_the_models(tmp_path):
    with pytest.raises(RunFailed):
        instance(tmp_path).run({"x": np.ones((1, 7), np.float32)})


async def test_runs_that_are_handed_over_are_done_one_by_one_on_one_thread_and_told_on_the_loop(tmp_path):
    place = instance(tmp_path)
    worked, told, ended = [], [], asyncio.Event()

    def done(number: int) -> None:
        told.append((number, threading.current_thread()))
        if number == 2:
            ended.set()

    for number in range(3):
        place.start(
            lambda number=number: worked.append((number, threading.current_thread())),
            lambda number=number: done(number),
        )
    await asyncio.wait_for(ended.wait(), 5)
    (thread,) = threads_of(tmp_path)
    assert worked == [(number, thread) for number in range(3)]
    assert told == [(number, threading.main_thread()) for number in range(3)]
    place.close()
    thread.join(5)
    assert not thread.is_alive()


async def test_closing_lets_the_run_in_progress_end_first(tmp_path):
    place = instance(tmp_path)
    begun, gate, ended = threading.Event(), threading.Event(), asyncio.Event()
    place.start(lambda: (begun.set(), gate.wait(5)), ended.set)
    await asyncio.to_thread(begun.wait, 5)
    (thread,) = threads_of(tmp_path)
    place.close()
    assert thread.is_alive()
    gate.set()
    await asyncio.wait_for(ended.wait(), 5)
    thread.join(5)
    assert not thread.is_alive()


def test_a_run_that_outlives_its_loop_ends_its_thread_in_silence(tmp_path, capfd):
    gate = threading.Event()

    async def leave_early() -> None:
        instance(tmp_path).start(lambda: gate.wait(5), lambda: None)

    asyncio.run(leave_early())
    (thread,) = threads_of(tmp_path)
    gate.set()
    thread.join(5)
    assert not thread.is_alive()
    assert capfd.readouterr().err == ""


async def test_an_instance_holds_no_batch_while_it_waits_for_the_next(tmp_path):
    place, ended = instance(tmp_path), asyncio.Event()
    batch = np.ones(8)
    kept = weakref.ref(batch)
    place.start(lambda batch=batch: None, ended.set)
    del batch
    await asyncio.wait_for(ended.wait(), 5)
    await until(lambda: kept() is None)
    place.close()


async def test_a_run_is_filled_up_to_a_liked_row_count_and_its_outputs_are_cut_back(tmp_path):
    fill = Fill()
    path = tmp_path / "model.onnx"
    path.write_bytes(plus(10))
    config = replace(FLAT, pad_rows_to=(2, 4))
    place = Instance("an instance", "cpu", open_session(ModelFile(path=path)), config, fill=fill)
    assert place.run({"x": np.repeat(ROW, 3, axis=0)})["y"].tolist() == [[11, 12]] * 3
    assert (fill.real, fill.added) == (6, 2)
    assert instance(tmp_path, config).run({"x": ROW})["y"].tolist() == [[11, 12]], "and needs nobody to count"


class Busy:
    """A session whose worker has no room."""

    def __init__(self) -> None:
        self.description = None
        self.asked = 0

    def run(self, inputs, outputs):
        self.asked += 1
        raise RuntimeBusy("model 'm' version 1 cannot run now: others have it; ask again")

    def close(self) -> None:
        """Nothing is open."""


def test_a_run_without_room_is_overload_for_its_whole_batch_and_not_the_models_fault():
    session = Busy()
    slot = Instance("busy", "cpu", session, FLAT)
    tickets = [Ticket({"x": ROW}, 1, lambda _: None, None) for _ in range(3)]
    run = Run(Manner("m", 1, True, False, monotonic_ns), slot, tickets, 3, "full")
    run.work()
    assert session.asked == 1, "nobody waits for room again, one by one"
    for answer in run.answers:
        assert isinstance(answer, RuntimeFull)
        assert reason_of(answer) == "REJECTED"
        status, headers, _ = refuse(answer, CODES)
        assert (status, dict(headers)[b"retry-after"]) == (429, b"1")
