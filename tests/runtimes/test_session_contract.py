"""What every runtime promises behind `Session`: one suite over each of them, here and in a worker process."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtimes.device import Device
from runtimes.errors import ModelBroken, RunFailed
from runtimes.opening import open_session
from runtimes.session import ModelFile, Session
from runtimes.tensors import TensorSpec
from runtimes.worker.home import ALL_TOGETHER
from runtimes.worker.workers import Workers
from tests.runtimes.models import ALL_KITS, KITS, Kit, SleepingKit, mlp_by_hand, on, some_rows, values_of


@pytest.fixture(scope="module", params=KITS, ids=lambda kit: kit.name)
def kit(request: pytest.FixtureRequest) -> Kit:
    return request.param


@pytest.fixture(scope="module", params=ALL_KITS, ids=lambda kit: kit.name)
def any_kit(request: pytest.FixtureRequest) -> Kit | SleepingKit:
    """One that computes or only sleeps."""
    return request.param


Open = Callable[[ModelFile], Session]


@pytest.fixture(scope="module", params=["here", "worker"])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """How a model is opened: in this process, or in another one."""
    if request.param == "here":
        yield open_session
        return
    workers = Workers()
    yield lambda model: workers.open(model, ALL_TOGETHER, "the model")
    workers.close()


@pytest.fixture(scope="module")
def any_mlp(
    opened: Open, any_kit: Kit | SleepingKit, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    session = opened(any_kit.mlp(tmp_path_factory.mktemp(any_kit.name)))
    yield session
    session.close()


@pytest.fixture(scope="module")
def mlp(opened: Open, kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    session = opened(kit.mlp(tmp_path_factory.mktemp(kit.name)))
    yield session
    session.close()


def every_datatype() -> list[object]:
    return [pytest.param(kit, name, id=f"{kit.name}-{name}") for kit in ALL_KITS for name in kit.datatypes]


def test_a_model_is_described_with_its_batch_dimension_variable(any_mlp):
    assert any_mlp.description.inputs == (TensorSpec("x", "FP32", (-1, 64)),)
    assert any_mlp.description.outputs == (TensorSpec("y", "FP32", (-1, 10)),)
    assert any_mlp.description.batches


def test_a_run_gives_a_row_for_a_row_in_the_shape_and_datatype_described(any_mlp):
    answer = any_mlp.run({"x": some_rows(5)}, ["y"])["y"]
    assert (answer.shape, answer.dtype) == ((5, 10), np.float32)


def test_a_run_gives_what_the_weights_say(mlp):
    rows = some_rows(5)
    np.testing.assert_allclose(mlp.run({"x": rows}, ["y"])["y"], mlp_by_hand(rows), atol=1e-4)


@pytest.mark.parametrize(("kit", "datatype"), every_datatype(), scope="function")
def test_every_datatype_comes_back_bit_for_bit(opened, kit, datatype, tmp_path):
    session = opened(kit.identity(tmp_path, datatype))
    sent = values_of(datatype)
    result = session.run({"x": sent}, ["y"])["y"]
    assert session.description.inputs[0].datatype == session.description.outputs[0].datatype == datatype
    assert result.dtype == sent.dtype
    assert result.tolist() == sent.tolist()
    assert not np.may_share_memory(result, sent)


def test_only_the_outputs_asked_for_are_returned_and_in_that_order(opened, kit, tmp_path):
    session = opened(kit.sum_and_difference(tmp_path))
    inputs = {"b": np.full((1, 3), 2, np.float32), "a": np.full((1, 3), 5, np.float32)}
    assert list(session.run(inputs, ["difference", "sum"])) == ["difference", "sum"]
    assert session.run(inputs, ["difference"])["difference"].tolist() == [[3, 3, 3]]
    assert session.run(inputs, ["sum"])["sum"].tolist() == [[7, 7, 7]]


def test_inputs_may_be_read_only_and_are_left_as_they_are(any_mlp):
    rows = some_rows(2)
    before = rows.copy()
    rows.flags.writeable = False
    any_mlp.run({"x": rows}, ["y"])
    assert np.array_equal(rows, before)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8), seed=st.integers(0, 2**16))
def test_a_row_gets_the_same_answer_alone_and_in_every_batch(mlp, sizes, seed):
    rows = some_rows(sum(sizes), seed)
    whole = mlp.run({"x": rows}, ["y"])["y"]
    ends = np.cumsum(sizes)
    for start, end in zip((0, *ends[:-1]), ends, strict=True):
        part = mlp.run({"x": rows[start:end]}, ["y"])["y"]
        np.testing.assert_allclose(part, whole[start:end], rtol=1e-5, atol=1e-5)


def test_eight_threads_at_once_each_get_their_own_answer(mlp):
    def ask(seed: int) -> bool:
        rows = some_rows(1 + seed % 5, seed)
        return np.allclose(mlp.run({"x": rows}, ["y"])["y"], mlp_by_hand(rows), atol=1e-4)

    with ThreadPoolExecutor(8) as callers:
        assert all(callers.map(ask, range(400)))


def test_a_failed_run_says_why_without_paths_and_the_next_one_works(opened, kit, tmp_path):
    session = opened(kit.pairs(tmp_path))
    with pytest.raises(RunFailed) as failure:
        session.run({"x": np.ones(3, np.float32)}, ["y"])
    sentence = str(failure.value)
    assert "3" in sentence
    assert "\n" not in sentence
    assert "/" not in sentence
    assert "Traceback" not in sentence
    assert session.run({"x": np.ones(4, np.float32)}, ["y"])["y"].shape == (2, 2)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda content: b"", "is empty"),
        (lambda content: b"no model at all", "model."),
        (lambda content: content[: len(content) // 2], "model."),
    ],
    ids=["empty", "garbage", "truncated"],
)
def test_a_broken_file_is_refused_with_its_name_and_no_path(opened, any_kit, tmp_path, harm, says):
    model = any_kit.mlp(tmp_path)
    model.path.write_bytes(harm(model.path.read_bytes()))
    with pytest.raises(ModelBroken, match=says) as refusal:
        opened(model)
    assert str(tmp_path) not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_of_the_other_kind_is_refused(opened, any_kit, tmp_path):
    model = any_kit.mlp(tmp_path)
    other = model.path.rename(tmp_path / ("model.pt" if model.path.suffix == ".onnx" else "model.onnx"))
    with pytest.raises(ModelBroken, match=other.name):
        opened(ModelFile(path=other))


def test_a_model_that_says_nothing_of_its_threads_starts_none(opened, any_kit, tmp_path):
    opened(any_kit.mlp(tmp_path)).run({"x": some_rows(1)}, ["y"])
    before = thread_count()
    sessions = [opened(any_kit.mlp(tmp_path)) for _ in range(4)]
    for session in sessions:
        session.run({"x": some_rows(32)}, ["y"])
    assert thread_count() == before


def thread_count() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.cuda
def test_a_model_on_a_cuda_device_gives_what_it_gives_on_the_cpu(opened, kit, mlp, tmp_path):
    session = opened(on(Device("cuda"), kit.mlp(tmp_path)))
    rows = some_rows(5)
    np.testing.assert_allclose(
        session.run({"x": rows}, ["y"])["y"], mlp.run({"x": rows}, ["y"])["y"], rtol=1e-2, atol=1e-2
    )
    session.close()
