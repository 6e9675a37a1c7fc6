"""Models that are loaded and unloaded again and again leave nothing behind."""

from pathlib import Path
from statistics import median

import psutil
import pytest

from tests.e2e_lifecycle.asking import answer, events
from tests.e2e_lifecycle.ledger import ledger
from tests.e2e_lifecycle.repository import Repository
from tests.runtimes.models import Mlp, script
from tests.server_process import Server, running

PRE = "def preprocess(inputs):\n    return {'x': inputs['x'] + 1}\n"
CONFIG = """max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 64 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 10 ] } ]
"""
MOVING = ("ledger", "mlp", "pre")
WARM = 10

POOLED = 6
"""Threads that pools of a fixed size may still start; a cycle that left one would leave more."""

OPTIONS = ("--model-control-mode=explicit", "--load-model=stays", "--access-log=false", "--log-format=json")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path)
    made.write("stays")
    made.write("ledger", 1, ledger(1))
    (made.write("pre") / "pre.py").write_text(PRE)
    made.folder("mlp").mkdir(parents=True)
    script(made.folder("mlp"), Mlp())
    made.configure("mlp", CONFIG)
    return made


def cycle(server: Server) -> None:
    for model in MOVING:
        assert server.client.post(f"/v2/repository/models/{model}/load").status_code == 200
    assert answer(server, "pre") == 2
    rows = {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [1.0] * 64}
    assert server.client.post("/v2/models/mlp/infer", json={"inputs": [rows]}).status_code == 200
    for model in MOVING:
        assert server.client.post(f"/v2/repository/models/{model}/unload").status_code == 200
    server.until(
        lambda: all(server.index()[model, "1"][0] == "UNAVAILABLE" for model in MOVING), every_s=0.005
    )


def left(server: Server) -> tuple[int, int, int]:
    """Threads, descriptors, and maps of shared memory."""
    process = psutil.Process(server.pid)
    maps = [each.path for each in process.memory_maps(grouped=False)]
    shared = [path for path in maps if "shm" in path or "memfd" in path]
    return process.num_threads(), process.num_fds(), len(shared)


@pytest.mark.parametrize("cycles", [15, pytest.param(100, marks=pytest.mark.slow)])
def test_load_and_unload_leave_no_memory_thread_or_descriptor(cycles, repository, tmp_path):
    with running(tmp_path / "log", repository.path, options=OPTIONS) as server:
        for _ in range(WARM):
            cycle(server)
        before, held = left(server), server.rss_bytes()
        resident = []
        for _ in range(cycles):
            cycle(server)
            assert answer(server, "stays") == 1
            resident.append(server.rss_bytes())
        assert median(resident[-5:]) < held * 1.05
        threads, *others = before
        server.until(lambda: all(now <= was for now, was in zip(left(server)[1:], others, strict=True)))
        assert left(server)[0] <= threads + POOLED
        assert any(each["bytes"] > 0 for each in events(server, "memory_given_back", model="ledger"))
