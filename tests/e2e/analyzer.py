"""Finds Triton's load generator: named in PERF_ANALYZER, on PATH, or from `make perf-analyzer`."""

import os
import shutil
from pathlib import Path

FETCHED = Path(__file__).parents[2] / ".venv" / "perf_analyzer" / "perf_analyzer"
"""The libraries that it wants lie beside it."""


def perf_analyzer() -> Path | None:
    """The program; None where it is not to be had."""
    named = os.environ.get("PERF_ANALYZER") or shutil.which("perf_analyzer")
    if named:
        return Path(named)
    return FETCHED if FETCHED.exists() else None
