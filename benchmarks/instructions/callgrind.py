"""Instructions of a process, counted by Valgrind's callgrind while something is asked of it.

The process runs some fifty times as slowly, one of its threads at a time, and what it does in the kernel is
not counted.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.server_under_test import ServerFailed

CONTROL_DEADLINE_S = 60

_TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def words(dumps: Path) -> Sequence[str]:
    """What to run a program under, for dumps of that name. Raises `ServerFailed` without Valgrind."""
    if shutil.which("valgrind") is None:
        raise ServerFailed("valgrind is not installed (Debian: apt-get install valgrind)")
    return "valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={dumps}"


def counted(pid: int, dumps: Path, do: Callable[[], int]) -> float:
    """Instructions of the process for each of so many things that `do` says it has done.

    Raises `ServerFailed` if callgrind does not answer.
    """
    _control("--zero", pid)
    before = set(dumps.parent.glob(f"{dumps.name}.*"))
    done = do()
    _control("--dump", pid)
    new = set(dumps.parent.glob(f"{dumps.name}.*")) - before
    if len(new) != 1 or not done:
        raise ServerFailed(f"callgrind wrote {len(new)} dumps of {done} requests")
    return total(new.pop().read_text()) / done


def total(dump: str) -> int:
    """All instructions that a dump tells of. Raises `ServerFailed` if it tells of none."""
    found = _TOTALS.search(dump)
    if found is None:
        raise ServerFailed("callgrind wrote a dump without a sum")
    return int(found[1])


def _control(order: str, pid: int) -> None:
    done = subprocess.run(
        ["callgrind_control", order, str(pid)],
        capture_output=True,
        text=True,
        timeout=CONTROL_DEADLINE_S,
        check=False,
    )
    if done.returncode:
        raise ServerFailed(f"callgrind_control {order}: {(done.stderr or done.stdout).strip()}")
