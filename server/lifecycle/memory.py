"""How much memory this process has and may have, as the system says. Linux; blocks for microseconds."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from runtimes.memory import PAGE
from runtimes.memory import resident_bytes as resident_bytes

UNLIMITED = 2**60
"""From here on a control group's limit is none: version 1 writes a number near 2^63."""


def peak_bytes() -> int:
    """The most that was resident of this process since it began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_limit(
    groups: Path = Path("/proc/self/cgroup"),
    mounts: Path = Path("/sys/fs/cgroup"),
    machine_bytes: int | None = None,
) -> int:
    """Bytes that this process may use: the machine's, or the tightest control group's above it."""
    whole = PAGE * os.sysconf("SC_PHYS_PAGES") if machine_bytes is None else machine_bytes
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        lines = []
    return min((whole, *(limit for line in lines for limit in _limits(line, mounts))))


def _limits(line: str, mounts: Path) -> Iterator[int]:
    """Along one line of /proc/self/cgroup: `hierarchy:controllers:/path`, the mount's root too."""
    _, controllers, path = line.split(":", 2)
    if not controllers:
        roots, file = (mounts, mounts / "unified"), "memory.max"
    elif "memory" in controllers.split(","):
        roots, file = (mounts / "memory", mounts / controllers), "memory.limit_in_bytes"
    else:
        return
    group = Path(path.lstrip("/"))
    for root in roots:
        for folder in (group, *group.parents):
            try:
                said = (root / folder / file).read_text().strip()
            except OSError:
                continue
            if said.isdecimal() and int(said) < UNLIMITED:
                yield int(said)
