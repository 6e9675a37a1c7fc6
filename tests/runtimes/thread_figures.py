"""Prints the figures of docs/decisions/thread-budget.md: python -m tests.runtimes.thread_figures

Each row is a process of its own, since a pool and its spinning belong to the process.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

MODES = ("ort 1", "ort 2", "ort 2 asleep", "ort global 2", "torch 1", "torch 2", "torch 2 asleep")


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cost_us(run: Callable[[], object], runs: int, pause_s: float = 0.0) -> str:
    for _ in range(max(4, runs // 20)):
        run()
    best = (float("inf"), float("inf"))
    for _ in range(3):
        wall, cpu = time.perf_counter(), cpu_s()
        for _ in range(runs):
            run()
            if pause_s:
                time.sleep(pause_s)
        spent = (time.perf_counter() - wall) / runs - pause_s, (cpu_s() - cpu) / runs
        best = min(best, spent)
    return f"{best[0] * 1e6:7.0f} /{best[1] * 1e6:7.0f}"


def runner(mode: str, kind: str, folder: Path) -> Callable[[np.ndarray], object]:
    threads = int(mode.split()[-1 if "asleep" not in mode else -2])
    if mode.startswith("torch"):
        import torch

        from tests.runtimes.models import Mlp, script

        torch.set_num_threads(threads)
        torch._C._jit_set_profiling_executor(False)
        module = Mlp() if kind == "mlp" else torch.nn.Sequential(*torch_convolutions())
        loaded = torch.jit.freeze(torch.jit.load(str(script(folder, module))).eval())

        def run_torch(rows: np.ndarray) -> object:
            with torch.inference_mode():
                return loaded(torch.from_numpy(rows)).numpy()

        return run_torch

    import onnxruntime as ort

    from tests.runtimes.models import onnx_mlp

    options = ort.SessionOptions()
    if "global" in mode:
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads = threads
    if "asleep" in mode:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = onnx_mlp(folder).path if kind == "mlp" else onnx_convolutions(folder)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda rows: session.run(None, {"x": rows})


CHANNELS = (3, 32, 64, 64, 128, 128)


def torch_convolutions() -> list:
    import torch

    layers = []
    for number, (few, many) in enumerate(pairwise(CHANNELS)):
        layers += [torch.nn.Conv2d(few, many, 3, stride=1 + number % 2, padding=1), torch.nn.ReLU()]
    return layers


def onnx_convolutions(folder: Path) -> Path:
    from onnx import helper, numpy_helper

    from tests.runtimes.models import onnx_model, value

    random, nodes, weights, flow = np.random.default_rng(0), [], [], "x"
    for number, (few, many) in enumerate(pairwise(CHANNELS)):
        kernel = (random.standard_normal((many, few, 3, 3)) / np.sqrt(9 * few)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{number}"))
        strides = [1 + number % 2] * 2
        nodes.append(
            helper.make_node("Conv", [flow, f"w{number}"], [f"c{number}"], pads=[1] * 4, strides=strides)
        )
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        flow = f"r{number}"
    nodes.append(helper.make_node("Identity", [flow], ["y"]))
    ends = [value("x", "FP32", ["n", 3, 112, 112])], [value("y", "FP32", ["n", 128, "h", "w"])]
    return onnx_model(folder, nodes, *ends, tuple(weights))


def measure(mode: str) -> None:
    if "global" in mode:
        import onnxruntime as ort

        ort.set_global_thread_pool_sizes(2, 1)
    with tempfile.TemporaryDirectory() as folder:
        mlp = runner(mode, "mlp", Path(folder))
        conv = runner(mode, "conv", Path(folder))
        one, many = np.ones((1, 64), np.float32), np.ones((32, 64), np.float32)
        image = np.ones((1, 3, 112, 112), np.float32)
        print(
            f"{mode:15}",
            cost_us(lambda: mlp(one), 2000),
            cost_us(lambda: mlp(many), 1000),
            cost_us(lambda: mlp(many), 100, pause_s=0.005),
            cost_us(lambda: conv(image), 20),
            cost_us(lambda: conv(image), 10, pause_s=0.03),
            sep=" | ",
            flush=True,
        )
        time.sleep(0.5)
        before = cpu_s()
        time.sleep(1)
        if (idle := cpu_s() - before) > 0.005:
            print(f"{mode}: {idle * 1000:.0f} ms of CPU in an idle second")


def main() -> None:
    if len(sys.argv) > 1:
        measure(sys.argv[1])
        return
    print("wall us / CPU us  | mlp, 1 row      | mlp, 32 rows    | the same, paced | conv net        | paced")
    for mode in MODES:
        policy = {"OMP_WAIT_POLICY": "PASSIVE"} if mode == "torch 2 asleep" else {}
        command = [sys.executable, "-m", "tests.runtimes.thread_figures", mode]
        subprocess.run(command, check=True, env=os.environ | policy)


if __name__ == "__main__":
    main()
