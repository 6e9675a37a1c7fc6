"""Puts into words how a trial ended that could not speak for itself. Pure."""

import re
import signal
from dataclasses import dataclass
from typing import Literal

from runtimes.signals import in_words

MIB = 2**20

OWN_CODE = ("pre.py", "post.py", "model.py")
"""Files of a version that hold code of its author's."""

_FRAME = re.compile(r'File "(?:[^"]*/)?(' + "|".join(map(re.escape, OWN_CODE)) + r')", line (\d+) in (\S+)')
"""As `faulthandler` writes it, the innermost call first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a trial may take.

    timeout_s      from its start to its verdict
    memory_bytes   resident, beyond what an empty trial has
    """

    timeout_s: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the process of a trial ended.

    limit         the one that it went over, and was stopped for
    signal        that ended it; 0 for none
    code          its exit code, where no signal ended it
    peak_bytes    the most that it took, beyond what an empty trial has
    said          the end of what it printed
    """

    limit: Literal["", "time", "memory"] = ""
    signal: int = 0
    code: int = 0
    peak_bytes: int = 0
    said: str = ""

    @property
    def is_a_crash(self) -> bool:
        """Of its own making: neither a limit nor the system, short of memory, stopped it."""
        return not self.limit and self.signal not in (0, signal.SIGKILL)

    @property
    def may_pass(self) -> bool:
        """The system stopped it, as it does when memory runs out; a limit of ours would do it again."""
        return not self.limit and self.signal == signal.SIGKILL


def reason(ending: Ending, stage: str, limits: Limits) -> str:
    """Why the candidate is rejected; `stage` is what it was at."""
    stage += _place(ending.said)
    match ending:
        case Ending(limit="time"):
            return (
                f"stopped at {stage}, in a process of its own: it was not done within "
                f"{limits.timeout_s:g} s (--verify-timeout-secs); is there a loop that does not end?"
            )
        case Ending(limit="memory"):
            return (
                f"stopped at {stage}, in a process of its own: it takes more than "
                f"{limits.memory_bytes / MIB:,.0f} MiB of memory (--verify-memory-bytes)"
            )
        case Ending(signal=0, code=code):
            return f"its code ended the process that tried it, at {stage}, with exit code {code}"
        case Ending(signal=number):
            return f"it crashed the process that tried it, at {stage}, by {in_words(number)}"
    raise AssertionError(ending)


def _place(said: str) -> str:
    """Where the author's own code was, as far as the end of what was printed tells."""
    frame = _FRAME.search(said, max(0, said.rfind("(most recent call first)")))
    return f" ({frame[1]} line {frame[2]}, in {frame[3]})" if frame else ""
