"""The budget of threads: what the system allows, divided among the models."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtimes.errors import ModelBroken
from runtimes.opening import open_session
from runtimes.processors import CpuReadings, read_cpu, thread_budget
from runtimes.session import ModelFile
from runtimes.threads import run_threads, threads_per_model
from tests.runtimes.models import KITS, some_rows


@pytest.mark.parametrize(
    ("processors", "quotas", "budget"),
    [
        (8, (), 8),
        (8, ((200_000, 100_000),), 2),
        (8, ((150_000, 100_000),), 2),
        (8, ((10_000, 100_000),), 1),
        (2, ((800_000, 100_000),), 2),
        (64, ((1_600_000, 100_000), (400_000, 100_000)), 4),
        (0, (), 1),
    ],
)
def test_the_budget_is_the_tightest_limit_rounded_up_and_at_least_one(processors, quotas, budget):
    assert thread_budget(CpuReadings(processors, quotas)) == budget


@pytest.mark.parametrize(
    ("budget", "models", "share"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (2, 4, 1), (1, 1, 1), (4, 0, 4)]
)
def test_models_share_the_budget_evenly_and_each_has_a_thread(budget, models, share):
    assert threads_per_model(budget, models) == share


@pytest.mark.parametrize(
    ("group", "files", "quotas"),
    [
        (
            "0::/pod/app",
            {"pod/app/cpu.max": "150000 100000", "pod/cpu.max": "max 100000"},
            [(150_000, 100_000)],
        ),
        ("0::/../../node", {"cpu.max": "200000 100000"}, [(200_000, 100_000)]),
        ("0::/", {"cpu.max": "max 100000"}, []),
        ("0::/", {}, []),
        (
            "4:cpu,cpuacct:/docker/1",
            {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"},
            [(50_000, 100_000)],
        ),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, []),
        ("3:cpuset:/a", {"cpu.max": "100000 100000"}, []),
    ],
)
def test_quotas_are_read_from_both_versions_of_control_groups(group, files, quotas, tmp_path):
    (tmp_path / "cgroup").write_text(f"{group}\n")
    for name, content in files.items():
        path = tmp_path / "mounts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    assert sorted(set(read_cpu(tmp_path / "cgroup", tmp_path / "mounts").quotas)) == quotas


def test_without_control_groups_the_affinity_mask_counts(tmp_path):
    readings = read_cpu(tmp_path / "none", tmp_path / "none")
    assert readings.processors >= 1
    assert not readings.quotas


def test_a_small_model_runs_in_its_callers_thread_and_a_large_one_takes_its_share(tmp_path):
    model = ModelFile(path=tmp_path / "model.onnx", threads=4)
    model.path.write_bytes(b"small")
    assert run_threads(model, "intra_op_thread_count") == 1
    (tmp_path / "weights.bin").write_bytes(bytes(2 << 20))
    assert run_threads(model, "intra_op_thread_count") == 4


def test_the_configured_number_of_threads_wins(tmp_path):
    model = ModelFile(path=tmp_path / "model.onnx", threads=4, parameters={"intra_op_thread_count": "3"})
    model.path.write_bytes(b"small")
    assert run_threads(model, "intra_op_thread_count") == 3
    with pytest.raises(ModelBroken, match="is '-1', which is no number"):
        run_threads(replace(model, parameters={"intra_op_thread_count": "-1"}), "intra_op_thread_count")


@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.name)
def test_four_large_models_on_a_budget_of_two_keep_few_threads_busy(kit, tmp_path):
    budget, models = 2, 4
    sessions = []
    for number in range(models):
        folder = tmp_path / str(number)
        folder.mkdir()
        model = kit.mlp(folder)
        (folder / "ballast.bin").write_bytes(bytes(2 << 20))
        sessions.append(open_session(replace(model, threads=threads_per_model(budget, models))))
    rows, done = some_rows(4096), threading.Event()

    def call(session):
        while not done.is_set():
            session.run({"x": rows}, ["y"])

    with ThreadPoolExecutor(models) as callers:
        for session in sessions:
            callers.submit(call, session)
        try:
            runnable = sorted(runnable_threads() for _ in range(150))
        finally:
            done.set()
    assert runnable[-5] - 1 <= budget + 2  # one counts them; in a look while they change, one may count twice
    assert np.isfinite(sessions[0].run({"x": rows}, ["y"])["y"]).all()


def runnable_threads() -> int:
    states = []
    for task in Path("/proc/self/task").iterdir():
        try:
            states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
    return states.count("R")
