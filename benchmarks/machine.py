"""What a measurement was made on: without it a figure says nothing."""

import os
import platform
import shutil
import subprocess
import sys
import timeit
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "tercet", "onnxruntime", "onnxruntime-gpu", "numpy", "uvicorn", "uvloop", "httptools", "orjson", "grpcio"
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[1]


def machine() -> Mapping[str, object]:
    """`load` is the run queue's mean over the last minute: near 0 on a quiet machine. `python_us` is what
    this interpreter takes here and now for ten thousand multiplications, in microseconds.
    """
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 2),
        "python_us": round(min(timeit.repeat(_multiplications, number=20, repeat=5)) / 20 * 1e6),
    }


def versions() -> Mapping[str, str]:
    """Python and how it was built, our commit, and each package on a request's path that is installed."""
    found = {"python": platform.python_version(), "python_build": sys.version, "commit": _commit()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _multiplications() -> None:
    sum([number * number for number in range(10_000)])


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )


def _commit() -> str:
    """The checkout's commit, with a + if files differ from it; empty outside a checkout."""
    if not shutil.which("git"):
        return ""
    asked = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+"], cwd=ROOT, capture_output=True, text=True
    )
    return asked.stdout.strip()
