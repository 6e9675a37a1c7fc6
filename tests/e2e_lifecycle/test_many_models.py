"""Two hundred models in one repository: what they cost at rest."""

from pathlib import Path

import psutil

from tests.e2e_lifecycle.asking import answer
from tests.e2e_lifecycle.repository import Repository
from tests.server_process import Server, running

MODELS = 200
START_CPU_S = 20.0
"""Seconds of a processor; by the clock, a crowded machine takes what it likes."""

MIB_EACH = 0.5
"""A tiny session of ONNX Runtime holds some 0.15 MiB; the rest is room for other versions of it."""


def figures(server: Server) -> tuple[int, int, int]:
    process = psutil.Process(server.pid)
    return process.num_fds(), process.num_threads(), server.rss_bytes()


def cpu_s(server: Server) -> float:
    spent = psutil.Process(server.pid).cpu_times()
    return spent.user + spent.system


def test_two_hundred_models_start_soon_and_cost_little_until_they_are_used(tmp_path: Path, record_property):
    few, many = Repository(tmp_path / "few"), Repository(tmp_path / "many")
    few.write("model0")
    for number in range(MODELS):
        many.write(f"model{number}")
    with running(tmp_path / "few.log", few.path) as server:
        files, threads, memory = figures(server)
    with running(tmp_path / "many.log", many.path) as server:
        took = cpu_s(server)
        files_of_many, threads_of_many, memory_of_many = figures(server)
        each = (memory_of_many - memory) / (MODELS - 1) / 2**20
        print(f"{MODELS} models: {took:.1f} s of a processor, {each:.2f} MiB each, {threads_of_many} threads")
        assert took < START_CPU_S
        assert each < MIB_EACH
        assert files_of_many <= files + 4
        assert threads_of_many <= threads + 8, "loader threads, and none for a model that nobody asks"
        assert len(server.index()) == MODELS
        assert [answer(server, f"model{number}") for number in range(0, MODELS, 50)] == [1] * 4
