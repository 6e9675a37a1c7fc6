"""Looks into a running server: py-spy says who holds the interpreter, perf where the processor is.

py-spy's own idea of who is idle does not hold everywhere, so only samples of the thread that holds the
interpreter count. perf is asked where it is installed and allowed.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.server_under_test import ServerFailed

PER_S = 250
DEADLINE_S = 60


class Sampler:
    """A process that watches another for so many seconds, and writes what it saw."""

    def __init__(self, command: list[str], written: Path) -> None:
        self._name, self._written = Path(command[0]).name, written
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def seen(self) -> Path:
        """Wait for its file. Raises `ServerFailed`."""
        try:
            _, said = self._process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise ServerFailed(f"{self._name} did not end within {DEADLINE_S} s") from None
        if self._process.returncode:
            raise ServerFailed(f"{self._name} failed: {said.strip()[-500:]}")
        return self._written


def interpreter(pid: int, seconds: int, scratch: Path) -> Sampler:
    """By py-spy, which `pip install py-spy` brings. Raises `ServerFailed` where it is not."""
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise ServerFailed("py-spy is not installed: pip install py-spy, or make test, which brings it")
    written = scratch / "stacks"
    command = [program, "record", "--gil", "--format", "raw", "--output", str(written)]
    command += ["--rate", str(PER_S), "--duration", str(seconds), "--pid", str(pid)]
    return Sampler(command, written)


def processor(pid: int, seconds: int, scratch: Path) -> Sampler | None:
    """By perf; None where there is none."""
    program = shutil.which("perf")
    if program is None:
        return None
    written = scratch / "perf"
    command = [program, "record", "--event", "cpu-clock", "--freq", "997", "--output", str(written)]
    command += ["--pid", str(pid), "--", "sleep", str(seconds)]
    return Sampler(command, written)


def report(recorded: Path) -> str:
    """What perf recorded, by object."""
    command = ["perf", "report", "--input", str(recorded), "--sort", "dso", "--stdio"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL
    ).stdout
