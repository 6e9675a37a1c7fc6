"""The limit: what ONNX Runtime itself does with a model, no server around it.

`Bare` is the truth that answers are held against. `rate` times the session alone, in a process of its own and
with one thread, as the models are served; run as a module this file is that process.
"""

import json
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.models import MODELS, Tensors, version_folder

THREADS = 1
SCAN_SHARE = 0.1
"""Of the timed seconds, for each batch size that is tried before the best one is timed."""
DEADLINE_S = 120
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class BareRate:
    """
    batch_size       the one with the most rows a second
    rows_per_s       at that batch size
    run_ms           one run of that batch
    cpu_us_per_row   user and system time of the process
    alone_us         one run of a single row
    """

    batch_size: int
    rows_per_s: float
    run_ms: float
    cpu_us_per_row: float
    alone_us: float


class Bare:
    """A version's model, with its pre- and post-processing code where it has some."""

    def __init__(self, version: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = THREADS
        self._session = onnxruntime.InferenceSession(
            version / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._preprocess = _step(version / "pre.py", "preprocess")
        self._postprocess = _step(version / "post.py", "postprocess")

    def answer(self, row: Tensors) -> Tensors:
        """What a server has to answer to this request."""
        names = [output.name for output in self._session.get_outputs()]
        outputs = self._session.run(None, dict(self._preprocess(row)))
        return self._postprocess(dict(zip(names, outputs, strict=True)))

    def runner(self, row: Tensors, batch_size: int) -> Callable[[], object]:
        """One run of the session over so many copies of the row."""
        inputs = self._preprocess(row)
        batch = {name: np.repeat(array, batch_size, axis=0) for name, array in inputs.items()}
        return lambda: self._session.run(None, batch)


def rate(repository: Path, model: str, *, max_batch_size: int, seconds: float) -> BareRate:
    """Time the session of a model that lies in `repository`, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bare", str(repository), model]
    command += [str(max_batch_size), str(seconds)]
    printed = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=seconds + DEADLINE_S
    )
    return BareRate(**json.loads(printed.stdout))


def batch_sizes(max_batch_size: int) -> list[int]:
    """The powers of two up to the largest batch; a model that does not batch has 0 and runs one row."""
    return [1 << power for power in range(max(1, max_batch_size).bit_length())]


def _step(code: Path, name: str) -> Callable[[Tensors], Tensors]:
    if not code.exists():
        return lambda tensors: tensors
    step: Callable[[Tensors], Tensors] = runpy.run_path(str(code))[name]
    return step


def _rate(bare: Bare, row: Tensors, max_batch_size: int, seconds: float) -> BareRate:
    tried = {
        size: _run_s(bare.runner(row, size), seconds * SCAN_SHARE) for size in batch_sizes(max_batch_size)
    }
    best = max(tried, key=lambda size: size / tried[size])
    cpu_before = time.process_time()
    started = time.perf_counter()
    run_s = _run_s(bare.runner(row, best), seconds)
    busy = (time.process_time() - cpu_before) / (time.perf_counter() - started)
    return BareRate(
        batch_size=best,
        rows_per_s=best / run_s,
        run_ms=run_s * 1e3,
        cpu_us_per_row=busy * run_s / best * 1e6,
        alone_us=tried[1] * 1e6,
    )


def _run_s(run: Callable[[], object], seconds: float) -> float:
    """Mean seconds of one run; the first is not counted, and at least one is."""
    run()
    runs = 0
    started = now = time.perf_counter()
    while now - started < seconds:
        run()
        runs, now = runs + 1, time.perf_counter()
    return (now - started) / runs


def _main(repository: str, model: str, max_batch_size: str, seconds: str) -> None:
    bare = Bare(version_folder(Path(repository), model))
    measured = _rate(bare, MODELS[model].row(), int(max_batch_size), float(seconds))
    fields: dict[str, Any] = asdict(measured)
    print(json.dumps(fields))


if __name__ == "__main__":
    _main(*sys.argv[1:])
