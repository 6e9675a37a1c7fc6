"""The processors of this process: how many, by its affinity mask and control groups, and of what kind."""

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CpuReadings:
    """What the system says of the processors that this process may use.

    processors   in the affinity mask
    quotas       (quota, period) in microseconds, of each control group above the process that has one
    """

    processors: int
    quotas: Sequence[tuple[int, int]] = ()


def thread_budget(readings: CpuReadings) -> int:
    """Threads that can run at once: the tightest limit, a fraction rounded up, at least 1."""
    by_quota = (-(-quota // period) for quota, period in readings.quotas)
    return max(1, min((readings.processors, *by_quota)))


def read_cpu(groups: Path = Path("/proc/self/cgroup"), mounts: Path = Path("/sys/fs/cgroup")) -> CpuReadings:
    """Read the affinity mask and the quotas of both versions of control groups."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        lines = []
    quotas = [quota for line in lines for quota in _quotas(line, mounts)]
    return CpuReadings(len(os.sched_getaffinity(0)), quotas)


def _quotas(line: str, mounts: Path) -> Iterator[tuple[int, int]]:
    """The quotas along one line of /proc/self/cgroup: `hierarchy:controllers:/path`.

    Inside a container the path is often the host's and the mount is already our own group, so the
    root of the mount is read too.
    """
    _, controllers, path = line.split(":", 2)
    if not controllers:
        roots, read = (mounts, mounts / "unified"), _quota_v2
    elif "cpu" in controllers.split(","):
        roots, read = (mounts / "cpu", mounts / controllers), _quota_v1
    else:
        return
    group = Path(path.lstrip("/"))
    for root in roots:
        for folder in (group, *group.parents):
            quota = read(root / folder)
            if quota is not None:
                yield quota


def _quota_v2(folder: Path) -> tuple[int, int] | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else (int(quota), int(period))


def _quota_v1(folder: Path) -> tuple[int, int] | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return (quota, period) if quota > 0 else None


@cache
def processor_kind(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What this processor is and can do: what was laid out for one kind is not for another."""
    told = [platform.machine()]
    with suppress(OSError):
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "flags", "Features", "CPU implementer", "CPU part"):
                told.append(value.strip())
            if not name.strip():  # of the first one
                break
    return "; ".join(told)
