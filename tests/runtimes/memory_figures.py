"""Prints the figures of docs/decisions/memory-returned.md: python -m tests.runtimes.memory_figures

Each row is a process of its own, since an allocator and what it keeps belong to the process. Everything is
done in threads, as in a server: a model is opened in one and run in others.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from runtimes.memory import resident_bytes
from runtimes.session import ModelFile
from runtimes.worker.home import OWN
from runtimes.worker.workers import Workers, WorkerSession

MIB = 2**20
WIDE = 2048
HUGE, SMALL = 4096, 4

ONNX = (
    "as it comes",
    "no arena",
    "no pattern",
    "no arena, no pattern",
    "shrink every run",
    "same as requested",
    "same as requested, shrink every run",
    "in a worker",
)
TORCH = ("as it comes",)
GLIBC = {
    "glibc as it comes": {},
    "MALLOC_ARENA_MAX=1": {"MALLOC_ARENA_MAX": "1"},
    "MALLOC_TRIM_THRESHOLD_=128K": {"MALLOC_TRIM_THRESHOLD_": "131072"},
    "MALLOC_MMAP_THRESHOLD_=64K": {"MALLOC_MMAP_THRESHOLD_": "65536"},
}


WORKERS = Workers()
IN_WORKERS: list[WorkerSession] = []


def resident() -> int:
    return resident_bytes() + sum(session.resident_bytes for session in IN_WORKERS)


def opened(
    runtime: str, mode: str, folder: Path
) -> tuple[Callable[[np.ndarray], object], Callable[[], None]]:
    """How to run it, and how to close it."""
    if mode == "in a worker":
        session = WORKERS.open(ModelFile(path=folder / "model.onnx"), OWN, "the model")
        IN_WORKERS.append(session)
        return lambda rows: session.run({"x": rows}, ["y"]), lambda: (session.close(), IN_WORKERS.clear())
    if runtime == "torch":
        import torch

        torch.set_num_threads(1)
        torch._C._jit_set_profiling_executor(False)
        held = [torch.jit.freeze(torch.jit.load(str(folder / "model.pt")).eval())]

        def run_torch(rows: np.ndarray) -> object:
            with torch.inference_mode():
                return held[0](torch.from_numpy(rows)).numpy()

        return run_torch, held.clear

    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = "no arena" not in mode
    options.enable_mem_pattern = "no pattern" not in mode
    if "same as requested" in mode:
        info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        ort.create_and_register_allocator(info, ort.OrtArenaCfg(0, 1, -1, -1))
        options.add_session_config_entry("session.use_env_allocators", "1")
    run_options = ort.RunOptions()
    if "shrink" in mode:
        run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    sessions = [ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])]
    return lambda rows: sessions[0].run(["y"], {"x": rows}, run_options), sessions.clear


def figures(runtime: str, mode: str, folder: Path, threads: int) -> None:
    trim = ctypes.CDLL(None).malloc_trim
    with ThreadPoolExecutor(threads) as workers:
        bases = []
        for _ in range(3):
            run, close = workers.submit(opened, runtime, mode, folder).result()
            run(np.ones((SMALL, WIDE), np.float32))
            close()
            del run, close
            trim(0)
            bases.append(resident())
        base = min(bases)
        seen = []
        run, close = workers.submit(opened, runtime, mode, folder).result()
        small, huge = (np.ones((rows, WIDE), np.float32) for rows in (SMALL, HUGE))
        for rows, times in ((small, 8), (huge, threads), (small, 600)):
            began = time.perf_counter()
            for done in [workers.submit(run, rows) for _ in range(times)]:
                done.result()
            took = (time.perf_counter() - began) / times
            del done
            seen.append(f"{(resident() - base) / MIB:6.0f}")
        del small, huge, rows
        close()
        del run, close
        seen.append(f"{(resident() - base) / MIB:6.0f}")
        began = time.perf_counter()
        trim(0)
        trimmed_ms = (time.perf_counter() - began) * 1e3
        seen.append(f"{(resident() - base) / MIB:6.0f}")
    print(
        f"| {runtime} {mode:<38} | {' | '.join(seen)} | {took * 1e6:6.0f} | {trimmed_ms:5.1f} |", flush=True
    )


def lay(folder: Path) -> None:
    """Two layers of 16 MiB; what lies between them is 32 MiB for the huge batch."""
    import torch

    from tests.runtimes.models import helper, numpy_helper, onnx_model, script, value

    random = np.random.default_rng(7)
    weights = [random.standard_normal((WIDE, WIDE)).astype(np.float32) / 50 for _ in range(2)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w1"], ["y"]),
    ]
    onnx_model(
        folder,
        nodes,
        [value("x", "FP32", ["n", WIDE])],
        [value("y", "FP32", ["n", WIDE])],
        tuple(numpy_helper.from_array(each, f"w{number}") for number, each in enumerate(weights)),
    )
    layers = torch.nn.Sequential(
        torch.nn.Linear(WIDE, WIDE, bias=False), torch.nn.ReLU(), torch.nn.Linear(WIDE, WIDE, bias=False)
    )
    script(folder, layers)


def main() -> None:
    if len(sys.argv) > 1:
        figures(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
        WORKERS.close()
        return
    print("MiB beyond an empty process: loaded and run | after huge batches | 600 small | closed | trimmed")
    with tempfile.TemporaryDirectory() as folder:
        lay(Path(folder))
        rows = [("onnx", mode, "glibc as it comes") for mode in ONNX]
        rows += [("torch", mode, "glibc as it comes") for mode in TORCH]
        rows += [
            (runtime, "as it comes", glibc) for runtime in ("onnx", "torch") for glibc in list(GLIBC)[1:]
        ]
        for runtime, mode, glibc in rows:
            print(f"{glibc:<28}", end=" ", flush=True)
            subprocess.run(
                [sys.executable, "-m", "tests.runtimes.memory_figures", runtime, mode, folder, "2"],
                env={**os.environ, **GLIBC[glibc]},
                check=True,
            )


if __name__ == "__main__":
    main()
