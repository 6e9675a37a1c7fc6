"""What a runtime does with a network by itself, no server around it: rows a second at its best batch.

Arrays go in and arrays come out, as they do in a server. Run as a module this file is a process that times
one runtime, so that its memory on the device is its own and is given back.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.networks import NETWORKS, Network
from benchmarks.sample import LoadFailed

ROOT = Path(__file__).resolve().parents[2]
SCAN_SHARE = 0.1
"""Of the timed seconds, for each batch size that is tried before the best one is timed."""
DEADLINE_S = 300

Runner = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """
    rows         of the batch with which the runtime does most rows a second, and how many that are
    answer_to    what it answers to one row
    """

    runtime: str
    rows: int
    rows_per_s: float
    answer: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """
    runtime   bare (ONNX Runtime's session) or torch
    rows      of the batch; 0 to look for the best
    """

    runtime: str
    network: str
    dtype: str
    device: str
    quick: bool
    file: str
    seconds: float
    rows: int = 0


def limit(task: Task) -> Limit:
    """Raises `LoadFailed` if the runtime cannot do that."""
    asked = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu.limit", json.dumps(asdict(task))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20 * task.seconds + DEADLINE_S,
    )
    if asked.returncode:
        raise LoadFailed(f"{task.runtime} with {task.network}: {asked.stderr.strip()[-300:]}")
    return Limit(**json.loads(asked.stdout.splitlines()[-1]))


def measure(task: Task) -> Limit:
    network = NETWORKS[task.network](quick=task.quick)
    runner = (_torch if task.runtime == "torch" else _bare)(task, network)
    rows = task.rows
    if not rows:
        sizes = [1 << power for power in range(network.most_rows.bit_length())]
        rates = {
            size: _rate(runner, network.row(size, task.dtype), SCAN_SHARE * task.seconds) for size in sizes
        }
        rows = max(rates, key=lambda size: rates[size])
    rate = _rate(runner, network.row(rows, task.dtype), task.seconds)
    answer = runner(network.row(1, task.dtype)).astype(float).ravel().tolist()
    return Limit(runtime=task.runtime, rows=rows, rows_per_s=rate, answer=answer)


def _bare(task: Task, network: Network) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    providers: list[Any] = ["CPUExecutionProvider"]
    if task.device == "cuda":
        onnxruntime.preload_dlls()
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": "0"}))
    session = onnxruntime.InferenceSession(task.file, options, providers=providers)
    if task.device == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise SystemExit("ONNX Runtime could not use the device")
    return lambda batch: session.run(["OUTPUT"], {"INPUT": batch})[0]


def _torch(task: Task, network: Network) -> Runner:
    import torch

    from benchmarks.gpu.twins import twin

    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    with torch.inference_mode():
        module = twin(network, task.dtype, task.device, 2)

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            answer: NDArray[Any] = module(torch.from_numpy(batch).to(task.device)).cpu().numpy()
        return answer

    return run


def _rate(runner: Runner, batch: NDArray[Any], seconds: float) -> float:
    """Rows a second; two runs are not counted, in which kernels are chosen and memory is taken."""
    for _ in range(2):
        runner(batch)
    runs = 0
    began = now = time.perf_counter()
    while now - began < seconds or not runs:
        runner(batch)
        runs, now = runs + 1, time.perf_counter()
    return runs * len(batch) / (now - began)


def close(answer: NDArray[Any], truth: list[float]) -> bool:
    """As near as half precision and another order of adding come."""
    wanted = np.array(truth)
    return bool(np.allclose(answer.astype(float).ravel(), wanted, rtol=0, atol=0.05 * np.abs(wanted).max()))


if __name__ == "__main__":
    print(json.dumps(asdict(measure(Task(**json.loads(sys.argv[1]))))))
