"""Models that only sleep: as long as they say, with the answers that they say, sharing what they share."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from runtimes.errors import ModelBroken
from runtimes.opening import open_session
from runtimes.service_time import ServiceTime
from runtimes.session import ModelFile
from runtimes.tensors import TensorSpec
from tests.runtimes.models import sleeping

ROWS = TensorSpec("x", "INT64", (-1, 2))
ECHO = TensorSpec("y", "INT64", (-1, 2))
LATE_S = 0.25
"""How much later than asked a thread may wake on a machine that has other work."""


def opened(folder, **facts):
    folder.mkdir(exist_ok=True)
    return open_session(sleeping(folder, [ROWS], [ECHO], **facts))


def numbered(count: int) -> np.ndarray:
    return np.arange(2 * count).reshape(count, 2)


def took(session, count: int = 1) -> float:
    began = time.monotonic()
    session.run({"x": numbered(count)}, ["y"])
    return time.monotonic() - began


def test_a_run_takes_what_its_rows_take_and_gives_them_back(tmp_path):
    session = opened(tmp_path, service_time={"fixed_ms": 20, "per_row_ms": 10})
    began = time.monotonic()
    answer = session.run({"x": numbered(3)}, ["y"])["y"]
    assert 0.05 <= time.monotonic() - began < 0.05 + LATE_S
    assert answer.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_an_output_without_an_input_of_its_kind_is_zeros_of_the_declared_shape(tmp_path):
    outputs = [TensorSpec("words", "BYTES", (-1, 3)), TensorSpec("sizes", "FP32", (-1, -1, 4)), ECHO]
    session = open_session(sleeping(tmp_path, [ROWS], outputs))
    answer = session.run({"x": numbered(5)}, ["words", "sizes", "y"])
    assert answer["words"].tolist() == [[b""] * 3] * 5
    assert (answer["sizes"].shape, answer["y"].any()) == ((5, 1, 4), False)


def test_runs_of_several_threads_sleep_at_the_same_time(tmp_path):
    session = opened(tmp_path, service_time={"fixed_ms": 100})
    began = time.monotonic()
    with ThreadPoolExecutor(8) as callers:
        list(callers.map(lambda _: took(session), range(8)))
    assert time.monotonic() - began < 0.1 + LATE_S


def test_models_that_name_the_same_units_slow_each_other_and_others_do_not(tmp_path):
    together = threading.Barrier(2)

    def took_together(session) -> float:
        together.wait(5)
        return took(session)

    shared = [opened(tmp_path / name, service_time={"fixed_ms": 300}, units=1) for name in "ab"]
    with ThreadPoolExecutor(2) as callers:
        assert all(seconds > 0.5 for seconds in callers.map(took_together, shared))
    apart = [opened(tmp_path / "c", service_time={"fixed_ms": 300}, units=2), shared[0]]
    with ThreadPoolExecutor(2) as callers:
        assert all(0.3 <= seconds < 0.3 + LATE_S for seconds in callers.map(took_together, apart))


def test_a_short_run_beside_a_long_one_takes_twice_its_time_and_delays_it_by_its_own(tmp_path):
    short = opened(tmp_path / "short", service_time={"fixed_ms": 20}, units=1)
    long = opened(tmp_path / "long", service_time={"fixed_ms": 500}, units=1)
    times: list[float] = []
    thread = threading.Thread(target=lambda: times.append(took(long)))
    thread.start()
    time.sleep(0.03)
    assert 0.04 <= took(short) < 0.04 + LATE_S
    thread.join(5)
    assert 0.52 <= times[0] < 0.52 + LATE_S


def test_jitter_is_the_series_of_its_seed(tmp_path):
    facts = {"fixed_ms": 300, "jitter": 0.9, "seed": 8}
    drawn = list(map(ServiceTime(**facts).draws(), [1] * 3))
    assert max(drawn) > min(drawn) + LATE_S * 1e9
    session = opened(tmp_path, service_time=facts)
    for ns in drawn:
        assert ns / 1e9 <= took(session) < ns / 1e9 + LATE_S


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "does not describe a model that sleeps"),
        ('{"inputs": []}', "it names no tensors"),
        ('{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}]}', "it has no 'outputs'"),
        (
            '{"inputs": [{"name": "x", "datatype": "FP31", "shape": [1]}], "outputs": []}',
            "FP31, which is none",
        ),
        (
            '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}], '
            '"outputs": [{"name": "y", "datatype": "FP32", "shape": [1]}], "service_time": {"jitter": 2}}',
            "jitter is 2, must be at least 0 and below 1",
        ),
        (
            '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}], '
            '"outputs": [{"name": "y", "datatype": "FP32", "shape": [1]}], "units": 0}',
            "more than 0 units",
        ),
    ],
)
def test_a_file_that_does_not_describe_such_a_model_is_refused_with_the_reason(tmp_path, content, says):
    path = tmp_path / "model.sleep"
    path.write_text(content)
    with pytest.raises(ModelBroken, match=rf"model\.sleep .*{says}"):
        open_session(ModelFile(path=path))
