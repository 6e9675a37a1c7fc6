"""What a server keeps of models that are loaded and unloaded again and again, and what others feel of it.

`python -m benchmarks.lifecycle.cycles REPOSITORY CYCLES` measures in a process of its own, and prints the
figures as JSON. A cycle loads three models (ONNX, TorchScript, and ONNX with pre.py), asks each, and
unloads them; one that stays is asked all the while, and so is a bare session of it, in turn: a machine that
others use is faster at one time than at another.
"""

import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns

import numpy as np
import psutil
import structlog
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from benchmarks.promises import Promise
from server.domain.state import State
from server.lifecycle.giving_back import GivingBack
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
from server.lifecycle.version import ServedVersion
from server.repository.scanner import Scanner
from server.repository.watching import scan_once
from server.scheduling.ticket import Ticket

WARM = 10
"""Cycles that do not count: caches fill, and allocators find their size."""

WIDE = 512
POOL_THREADS = 4
ASKED = 20
"""Times that the model that stays is asked in each cycle."""

PRE = "def preprocess(inputs):\n    return {'x': inputs['x'] * 2}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleFigures:
    """
    before_mib, after_mib   resident, after the first ten cycles and after the last: the middle of three looks
    threads, descriptors    how many more there are then
    shared                  how many more files of shared memory
    first_us, last_us       asking the model that stays: the middle one of the first and of the last tenth
    first_bare_us, last_bare_us   asking a bare session of it on a thread, then
    cycle_ms                one cycle, the middle one
    """

    cycles: int
    before_mib: float
    after_mib: float
    threads: int
    descriptors: int
    shared: int
    first_us: float
    last_us: float
    first_bare_us: float
    last_bare_us: float
    cycle_ms: float

    @property
    def growth(self) -> float:
        return self.after_mib / self.before_mib - 1

    @property
    def slowing(self) -> float:
        """What a request takes at last over what it took at first, each over what a bare session took."""
        return (self.last_us / self.last_bare_us) / (self.first_us / self.first_bare_us)


PROMISES: tuple[Promise[CycleFigures], ...] = (
    Promise(
        name="load and unload: resident memory grown since the 10th",
        figure=lambda f: f.growth,
        form=".1%",
        at_most=0.05,
    ),
    Promise(
        name="load and unload: threads, files and shared memory left",
        figure=lambda f: float(f.threads + f.descriptors + f.shared),
        form=".0f",
        at_most=0,
    ),
    Promise(
        name="load and unload: request median, last over first",
        figure=lambda f: f.slowing,
        form=".2f",
        at_most=1.1,
    ),
)


def measure_cycles(cycles: int) -> CycleFigures:
    """In a process of its own. Raises `subprocess.CalledProcessError`."""
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
        lay_models(Path(scratch))
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.lifecycle.cycles", scratch, str(cycles)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return CycleFigures(**json.loads(told.stdout.splitlines()[-1]))


def lines(figures: CycleFigures) -> Sequence[str]:
    return [
        f"{figures.cycles} cycles of {figures.cycle_ms:.0f} ms: {figures.before_mib:.1f} MiB before, "
        f"{figures.after_mib:.1f} after; {figures.first_us:.0f} us a request at first, "
        f"{figures.last_us:.0f} at last, of a bare session {figures.first_bare_us:.0f} and "
        f"{figures.last_bare_us:.0f}"
    ]


async def _measure(repository: Path, cycles: int) -> CycleFigures:
    process = psutil.Process()
    resident, walls, asked, bare = [], [], [], []
    counted: list[tuple[int, int, int]] = []
    giving_back = GivingBack()
    await _start_all_threads()
    session = InferenceSession(repository / "stays" / "1" / "model.onnx")
    loader = Loader(cpu_budget=1, max_queue_size=16, giving_back=giving_back)
    async with Manager(loader, load_threads=2, retire_within_s=5) as manager:
        offers = await scan_once(Scanner([repository]))
        moving = sorted(offers.keys() - {"stays"})
        manager.apply(offers, {"stays"})
        await manager.all_settled()
        for _ in range(WARM + cycles):
            began = perf_counter_ns()
            manager.apply(offers, offers.keys())
            for model in moving:
                await manager.settle(model)
                await _ask(manager, model)
            asked.append(median([await _ask(manager, "stays") for _ in range(ASKED)]))
            bare.append(median([await _ask_bare(session) for _ in range(ASKED)]))
            manager.apply(offers, {"stays"})
            await manager.all_settled()
            while any(line.state is State.UNLOADING for line in manager.index()):
                await giving_back.back()
            walls.append((perf_counter_ns() - began) / 1e6)
            gc.collect()
            resident.append(process.memory_info().rss / 2**20)
            counted.append((threading.active_count(), process.num_fds(), len(os.listdir("/dev/shm"))))
        tenth = max(1, cycles // 10)
        before, after = counted[WARM - 1], counted[-1]
    return CycleFigures(
        cycles=cycles,
        before_mib=median(resident[WARM - 3 : WARM]),
        after_mib=median(resident[-3:]),
        threads=max(0, after[0] - before[0]),
        descriptors=max(0, after[1] - before[1]),
        shared=max(0, after[2] - before[2]),
        first_us=median(asked[WARM : WARM + tenth]) / 1e3,
        last_us=median(asked[-tenth:]) / 1e3,
        first_bare_us=median(bare[WARM : WARM + tenth]) / 1e3,
        last_bare_us=median(bare[-tenth:]) / 1e3,
        cycle_ms=median(walls),
    )


async def _start_all_threads() -> None:
    """Of the loop's own pool, which is bounded: it starts one whenever more than ever before are busy."""
    pool, all_there = ThreadPoolExecutor(POOL_THREADS), threading.Barrier(POOL_THREADS)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(pool)
    await asyncio.gather(*(loop.run_in_executor(pool, all_there.wait) for _ in range(POOL_THREADS)))


async def _ask(manager: Manager, model: str) -> int:
    """How many nanoseconds its answer took."""
    served = manager.table.find(model, "")
    assert isinstance(served, ServedVersion)
    told: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
    began = perf_counter_ns()
    served.batcher.submit(Ticket({"x": np.ones((1, WIDE), np.float32)}, 1, told.set_result))
    ticket = await told
    took = perf_counter_ns() - began
    if ticket.error is not None:
        raise ticket.error
    return took


async def _ask_bare(session: InferenceSession) -> int:
    """The same of a session that nobody manages."""
    began = perf_counter_ns()
    inputs = {"x": np.ones((1, WIDE), np.float32)}
    await asyncio.get_running_loop().run_in_executor(None, session.run, None, inputs)
    return perf_counter_ns() - began


def lay_models(repository: Path) -> None:
    import torch  # here: whoever measures imports it with the first such model

    for model in ("onnx", "pre", "stays"):
        _folder(repository, model).joinpath("model.onnx").write_bytes(_onnx())
    _folder(repository, "pre").joinpath("pre.py").write_text(PRE)
    torch.jit.script(torch.nn.Linear(WIDE, WIDE)).save(str(_folder(repository, "torch") / "model.pt"))
    tensor = f"data_type: TYPE_FP32 dims: [ {WIDE} ] }} ]"
    (repository / "torch" / "config.pbtxt").write_text(
        f'max_batch_size: 4 input [ {{ name: "x" {tensor} output [ {{ name: "y" {tensor}'
    )


def _folder(repository: Path, model: str) -> Path:
    folder = repository / model / "1"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _onnx() -> bytes:
    """y = x @ weights, 1 MiB of them."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDE]) for name in "xy")
    weights = numpy_helper.from_array(np.eye(WIDE, dtype=np.float32), "weights")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "weights"], ["y"])], "g", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def main(repository: str, cycles: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    figures = asyncio.run(_measure(Path(repository), int(cycles)))
    print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main(*sys.argv[1:])
