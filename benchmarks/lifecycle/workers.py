"""What it costs to have a model in a process of its own: time for each run, copies, and memory.

Models that do nothing but hand back what they are given, in the server's process and in a worker, in turns.
"""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns

import numpy as np
from onnx import TensorProto, helper

from benchmarks.promises import Promise
from runtimes.memory import resident_bytes
from runtimes.opening import open_session
from runtimes.session import ModelFile, Session
from runtimes.tensors import Array
from runtimes.worker.home import OWN
from runtimes.worker.workers import Workers, WorkerSession

SIZES = {"64 B": 16, "64 KiB": 2**14, "1 MiB": 2**18, "4 MiB": 2**20}
"""Elements of FP32 that go there and come back."""

ROUNDS = 15
LONG_NS = 100_000_000
"""For the runs of one size in one round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFigures:
    """
    here_us, there_us    a run by what goes each way: the middle one of the best round
    copies               of the tensors' bytes in a run, both ways together; 1 is one way
    resident_mib         of a worker with this model, its libraries among them
    start_ms             until it is there: a process, the runtime, the model
    """

    here_us: dict[str, float]
    there_us: dict[str, float]
    copies: dict[str, float]
    resident_mib: float
    start_ms: float

    def added_us(self, size: str) -> float:
        return self.there_us[size] - self.here_us[size]


PROMISES: tuple[Promise[WorkerFigures], ...] = (
    Promise(
        name="runtime worker: added to a run of 64 B, us",
        figure=lambda f: f.added_us("64 B"),
        form=".0f",
        at_most=150,
    ),
    Promise(
        name="runtime worker: copies of 1 MiB there and 1 MiB back",
        figure=lambda f: f.copies["1 MiB"] * 2,
        form=".1f",
        at_most=2,
    ),
)


def measure_workers(rounds: int = ROUNDS) -> WorkerFigures:
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
        file = _identity(Path(scratch))
        here = open_session(file)
        with closing(Workers()) as workers:
            workers.open(
                file, OWN, "the first"
            ).close()  # the process that starts workers is there from now on
            began = perf_counter_ns()
            there = workers.open(file, OWN, "the model")
            start_ms = (perf_counter_ns() - began) / 1e6
            figures = _measure(here, there, rounds)
            pid = there.pid
            resident = resident_bytes(pid) if pid is not None else 0
            there.close()
        here.close()
    return WorkerFigures(**figures, resident_mib=resident / 2**20, start_ms=start_ms)


def lines(figures: WorkerFigures) -> Sequence[str]:
    told = [
        f"{size:>7} each way: {figures.here_us[size]:8.1f} us here, {figures.there_us[size]:8.1f} in a worker"
        for size in SIZES
    ]
    return [
        *told,
        f"a worker is there after {figures.start_ms:.0f} ms and has {figures.resident_mib:.0f} MiB resident",
    ]


def _measure(here: Session, there: WorkerSession, rounds: int) -> dict[str, dict[str, float]]:
    took: dict[str, dict[str, list[float]]] = {"here_us": {}, "there_us": {}}
    copies = {}
    for size, elements in SIZES.items():
        rows = np.ones((1, elements), np.float32)
        for _ in range(rounds):
            for name, session in (("here_us", here), ("there_us", there)):
                took[name].setdefault(size, []).append(_run_us(session, rows))
        before = there.copied_bytes
        there.run({"x": rows}, ["y"])
        copies[size] = (there.copied_bytes - before) / (2 * rows.nbytes)
    best = {name: {size: min(us) for size, us in by_size.items()} for name, by_size in took.items()}
    return {**best, "copies": copies}


def _run_us(session: Session, rows: Array) -> float:
    """The middle one of many runs."""
    runs, until = [], perf_counter_ns() + LONG_NS
    while perf_counter_ns() < until:
        began = perf_counter_ns()
        session.run({"x": rows}, ["y"])
        runs.append(perf_counter_ns() - began)
    return median(runs) / 1e3


def _identity(folder: Path) -> ModelFile:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "wide"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return ModelFile(path=path)
