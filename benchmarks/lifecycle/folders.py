"""What a repository of many small models costs a server that has loaded none of them.

`python -m benchmarks.lifecycle.folders REPOSITORY` measures in a process of its own, so that its memory is
that of the repository, and prints the figures as JSON.
"""

import asyncio
import gc
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from onnx import TensorProto, helper, numpy_helper

from server.app.collector import come_seldom, spare_what_stands
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
from server.repository.scanner import Scanner

POLLS = 7
CONFIG = 'max_batch_size: 8\nparameters { key: "owner" value { string_value: "team-%d" } }\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFigures:
    """
    first_scan_s        wall time until all are known
    first_scan_cpu_s    what it took of the processor: the same on a quiet machine
    poll_cpu_s          CPU time of a look at all of them where nothing has changed, the middle one of several
    poll_cpu_all_s      each of these
    memory_kib          resident, for each model that is known and not loaded
    """

    models: int
    first_scan_s: float
    first_scan_cpu_s: float
    poll_cpu_s: float
    poll_cpu_all_s: list[float]
    memory_kib: float


def lay_folders(repository: Path, count: int) -> None:
    """Models of one version with a configuration, each with content of its own."""
    for number in range(count):
        folder = repository / f"model-{number:05}" / "1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(_model(number))
        (folder.parent / "config.pbtxt").write_text(CONFIG % number)


def measure_folders(repository: Path) -> FolderFigures:
    """In a process of its own. Raises `subprocess.CalledProcessError`."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.lifecycle.folders", str(repository)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return FolderFigures(**json.loads(told.stdout))


async def _measure(repository: Path) -> FolderFigures:
    come_seldom()  # as a server does
    process = psutil.Process()
    async with Manager(Loader(cpu_budget=1, max_queue_size=1), load_threads=1, retire_within_s=1) as manager:
        scanner = Scanner([repository])
        gc.collect()
        before = process.memory_info().rss
        began, began_cpu = time.perf_counter(), time.process_time()
        offers = scanner.scan().offers
        first_scan_s, first_scan_cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
        manager.apply(offers, ())
        await manager.all_settled()
        gc.collect()
        grown = process.memory_info().rss - before
        if len(manager.index()) != len(offers) or any(offer.problem for offer in offers.values()):
            raise RuntimeError("not every folder was taken for a model")
        spare_what_stands()
        polls = []
        for _ in range(POLLS):
            began = time.process_time()
            again = scanner.scan().offers
            unchanged = again == offers
            polls.append(time.process_time() - began)
            if not unchanged:
                raise RuntimeError("something changed while it was measured")
    return FolderFigures(
        models=len(offers),
        first_scan_s=first_scan_s,
        first_scan_cpu_s=first_scan_cpu_s,
        poll_cpu_s=median(polls),
        poll_cpu_all_s=polls,
        memory_kib=grown / 1024 / len(offers),
    )


def _model(number: int) -> bytes:
    """y = x + number."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    amount = numpy_helper.from_array(np.full(4, number, np.float32), "amount")
    graph = helper.make_graph([helper.make_node("Add", ["x", "amount"], ["y"])], "g", [x], [y], [amount])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_measure(Path(sys.argv[1]))))))
