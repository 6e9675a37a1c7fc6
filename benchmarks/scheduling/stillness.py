"""Whether the machine was left alone while something was measured.

Told by what the measured server has no hand in: time that the hypervisor gave to others, and what the machine
could answer before and after.
"""

import os
from pathlib import Path

STOLEN = 0.01
"""Of the processors' time: more of it, and others used the machine."""

CHANGED = 0.05
"""Of what is answered a second: by more, and the machine has become slower or faster."""

STAT = Path("/proc/stat")
STEAL = 8
"""Its place in the line of all processors, `man 5 proc_stat`."""


def stolen_s(stat: Path = STAT) -> float:
    """Seconds that this machine's processors stood still for others, all together; 0 where none tells."""
    try:
        first = stat.read_text(encoding="ascii").partition("\n")[0]
    except FileNotFoundError:
        return 0.0
    fields = first.split()
    return int(fields[STEAL]) / os.sysconf("SC_CLK_TCK") if len(fields) > STEAL else 0.0


def is_still(stolen: float, before: float, after: float) -> bool:
    """By the share of time that was stolen, and by the rate before and after."""
    return stolen <= STOLEN and abs(after - before) <= CHANGED * max(before, after)
