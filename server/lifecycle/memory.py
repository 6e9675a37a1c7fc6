"""How much memory this process has and may have, as the system says. Linux; blocks for microseconds."""

import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from runtimes.memory import PAGE
from runtimes.memory import resident_bytes as resident_bytes

UNLIMITED = 2**60
"""From here on a control group's limit is none: version 1 writes a number near 2^63."""


def peak_bytes() -> int:
    """The most that was resident of this process since it began, or since `forget_peak`."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> bool:
    """Count the peak from now on. False where the system does not do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def own_bytes(folder: Path | None = None) -> int:
    """Resident memory that is this process's own, and the files below `folder` that it has mapped.

    Left out are the pages of libraries, which models share: the first to run pays for those of all, so they
    would count some MiB more against one model than against its twin.
    """
    try:
        status = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
        )
        own = sum(int(status[field].split()[0]) for field in ("RssAnon", "RssShmem")) * 1024
    except (OSError, KeyError, ValueError):
        return resident_bytes()
    return own + (_mapped_bytes(folder) if folder is not None else 0)


_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ (?:\S+ ){3}\d+ +(?P<path>/.*)$")


def _mapped_bytes(folder: Path) -> int:
    """Pages in memory of mapped files below a folder: weights that a runtime reads in place."""
    inside, found = f"{folder.resolve()}/", 0
    counts = False
    try:
        with open("/proc/self/smaps", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                mapping = _MAPPING.match(line)
                if mapping is not None:
                    counts = mapping["path"].startswith(inside)
                elif counts and line.startswith("Rss:"):
                    found += int(line.split()[1]) * 1024
                    counts = False
    except (OSError, ValueError):
        return 0
    return found


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
