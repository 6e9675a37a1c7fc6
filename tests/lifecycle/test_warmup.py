"""What is run before a version is ready: pure but for the run, which the test gives, and the clock."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import structlog

from runtimes.errors import RunFailed
from runtimes.tensors import TensorSpec
from server.domain.signature import Signature
from server.domain.warmup import Warmup, WarmupData, WarmupInput
from server.lifecycle.warmup import LEARNING_NS, WarmupFailed, learn, slowest, warm_up
from server.wire import raw

X, TEXT = TensorSpec("x", "FP32", (-1, 2)), TensorSpec("text", "BYTES", (-1, 1))
PAIR = Signature("m", [X], [], max_batch_size=8)
MS = 1_000_000


class Model:
    """Remembers what it is given, and takes as long on its own clock as the test says: ns by rows."""

    def __init__(self, takes_ns: Callable[[int], int] = lambda rows: rows * MS) -> None:
        self.runs: list[dict[str, np.ndarray]] = []
        self._takes_ns = takes_ns
        self._now = 0

    def run(self, inputs):
        self.runs.append(dict(inputs))
        self._now += self._takes_ns(self.rows[-1])

    def clock(self) -> int:
        return self._now

    @property
    def rows(self) -> list[int]:
        return [next(iter(inputs.values())).shape[0] for inputs in self.runs]


def sample(data: str, dims: tuple[int, ...] = (2,), *, rows: int = 3, count: int = 1, **facts) -> Warmup:
    tensor = {"name": "x", "datatype": "FP32", "file": "", **facts}
    one = WarmupInput(dims=dims, data=WarmupData(data), **tensor)
    return Warmup(name="w", batch_size=rows, count=count, inputs=(one,))


def warmed(folder: Path, *samples: Warmup, signature: Signature = PAIR) -> Model:
    model = Model()
    warm_up(samples, folder, signature, model.run, model.clock)
    return model


def test_zeros_have_the_rows_of_the_sample_and_run_as_often_as_it_says(tmp_path):
    model = warmed(tmp_path, sample("zero_data", rows=3, count=2))
    assert model.rows == [3, 3]
    assert (model.runs[0]["x"].dtype, model.runs[0]["x"].tolist()) == (np.float32, [[0, 0]] * 3)


def test_random_data_are_neither_zero_nor_other_ones_the_next_time(tmp_path):
    first, again = (warmed(tmp_path, sample("random_data")).runs[0]["x"] for _ in range(2))
    assert first.tolist() == again.tolist()
    assert 0 < first.min() < first.max() < 1


def test_random_whole_numbers_are_small_and_random_texts_are_empty(tmp_path):
    tokens = Signature("m", [TensorSpec("x", "INT64", (-1, 9))], [], 8)
    (given,) = warmed(tmp_path, sample("random_data", (9,), datatype="INT64"), signature=tokens).runs
    assert 0 <= given["x"].min() < given["x"].max() < 128
    texts = Signature("m", [TEXT], [], 8)
    for data in ("random_data", "zero_data"):
        told = sample(data, (1,), rows=2, name="text", datatype="BYTES")
        (given,) = warmed(tmp_path, told, signature=texts).runs
        assert given["text"].tolist() == [[b""], [b""]]


def test_a_file_in_the_folder_warmup_is_every_row_of_the_sample(tmp_path):
    (tmp_path / "warmup" / "texts").mkdir(parents=True)
    (tmp_path / "warmup" / "row").write_bytes(np.array([5, 7, 9], np.float32).tobytes())
    model = warmed(tmp_path, sample("input_data_file", rows=2, file="row"))
    assert model.runs[0]["x"].tolist() == [[5, 7], [5, 7]], "of a longer file its beginning, as in Triton"
    (tmp_path / "warmup" / "texts" / "hello").write_bytes(raw.encode(np.array([b"hello"], object)))
    told = sample("input_data_file", (1,), rows=2, name="text", datatype="BYTES", file="texts/hello")
    (given,) = warmed(tmp_path, told, signature=Signature("m", [TEXT], [], 8)).runs
    assert given["text"].tolist() == [[b"hello"], [b"hello"]]


def test_a_model_without_a_batch_dimension_is_run_once_for_each_row(tmp_path):
    whole = Signature("m", [TensorSpec("x", "FP32", (2,))], [], 0)
    model = warmed(tmp_path, sample("zero_data", rows=2, count=2), signature=whole)
    assert [inputs["x"].shape for inputs in model.runs] == [(2,)] * 4


def test_a_sample_of_no_rows_is_left_out_and_said_so(tmp_path):
    with structlog.testing.capture_logs() as logs:
        assert warmed(tmp_path, sample("zero_data", rows=0)).runs == []
    assert logs == [
        {
            "event": "warmup_skipped",
            "log_level": "warning",
            "model": "m",
            "sample": "w",
            "reason": "batch_size is 0",
        }
    ]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (sample("zero_data", (3,)), r"unexpected shape for input 'x' .* Expected \[-1,2\], got \[3,3\]"),
        (sample("zero_data", rows=9), "batch-size must be <= 8"),
        (sample("zero_data", datatype="INT8"), "'x'"),
        (sample("zero_data", name="z"), "'z'"),
        (sample("input_data_file", file="none"), "file warmup/none cannot be read: No such file"),
        (sample("input_data_file", file="short"), "file warmup/short needs 8 bytes, but the file has 4"),
    ],
)
def test_a_sample_that_does_not_fit_is_named_with_what_is_wrong(tmp_path, told, why):
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "short").write_bytes(bytes(4))
    with pytest.raises(WarmupFailed, match=f"^failed to run warmup sample 'w': .*{why}") as failed:
        warmed(tmp_path, told)
    assert str(tmp_path) not in str(failed.value)


@pytest.mark.parametrize("error", [RunFailed("out of memory"), MemoryError()])
def test_a_run_that_fails_is_named_by_its_sample(tmp_path, error):
    def run(_):
        raise error

    with pytest.raises(WarmupFailed, match=r"failed to run warmup sample 'w': .*memory"):
        warm_up([sample("zero_data")], tmp_path, PAIR, run)


def test_the_shortest_time_of_each_number_of_rows_is_what_a_warmup_teaches(tmp_path):
    times = iter([9 * MS, 5 * MS, 7 * MS, 2 * MS])
    model = Model(lambda rows: next(times))
    samples = [sample("zero_data", rows=4, count=3), sample("zero_data", rows=1)]
    assert warm_up(samples, tmp_path, PAIR, model.run, model.clock) == {4: 5 * MS, 1: 2 * MS}


def test_sizes_are_learned_by_doubling_up_to_the_largest_and_the_middle_time_is_kept():
    times = iter([90, 20, 30, 50, 45, 40, 80, 81, 79, 100, 100, 100])
    model = Model(lambda rows: next(times) * 1000)
    learned = learn(None, Signature("m", [X], [], 6), model.run, clock=model.clock)
    assert learned == {1: 30_000, 2: 45_000, 4: 80_000, 6: 100_000}
    assert model.rows == [1, 1, 1, 2, 2, 2, 4, 4, 4, 6, 6, 6]
    assert not any(inputs["x"].any() for inputs in model.runs)


def test_learning_ends_in_time_whatever_the_model_takes():
    for one_ms in (0.01, 1, 30, 200, 700):
        model = Model(lambda rows, one_ms=one_ms: int(rows * one_ms * MS))
        learn(None, Signature("m", [X], [], 1024), model.run, clock=model.clock)
        assert model.clock() <= LEARNING_NS
    slow = Model(lambda rows: 5 * LEARNING_NS)
    assert learn(None, PAIR, slow.run, clock=slow.clock) == {1: 5 * LEARNING_NS}
    assert slow.rows == [1]


def test_a_golden_example_is_asked_row_by_row_and_one_that_does_not_fit_gives_way_to_zeros():
    model = Model()
    learn({"x": np.array([[1, 2], [3, 4]], np.float32)}, PAIR, model.run, clock=model.clock)
    assert model.runs[3]["x"].tolist() == [[1, 2], [1, 2]]
    model = Model()
    learn({"y": np.ones((1, 9), np.float32)}, PAIR, model.run, clock=model.clock)
    assert model.runs[0]["x"].tolist() == [[0, 0]]


def test_without_an_example_nothing_is_learned_of_a_model_whose_sizes_vary():
    model = Model()
    assert learn(None, Signature("m", [TensorSpec("x", "FP32", (-1, -1))], [], 8), model.run) == {}
    assert model.runs == []


def test_a_model_without_a_batch_dimension_learns_one_size():
    whole, model = Signature("m", [TensorSpec("x", "FP32", (2, 2))], [], 0), Model()
    assert learn(None, whole, model.run, clock=model.clock) == {1: 2 * MS}


def test_learning_that_fails_keeps_what_was_learned_and_harms_nobody():
    model = Model()

    def run(inputs):
        if len(inputs["x"]) == 4:
            raise RunFailed("no more than two")
        model.run(inputs)

    with structlog.testing.capture_logs() as logs:
        assert learn(None, PAIR, run, clock=model.clock) == {1: MS, 2: 2 * MS}
    assert [(line["event"], line["reason"]) for line in logs] == [("warmup_not_learned", "no more than two")]


def test_of_several_devices_the_slowest_counts():
    assert slowest([{1: 5, 2: 9}, {1: 6}]) == {1: 6, 2: 9}
    assert slowest([{}]) == {}
