"""How long to wait before what failed is tried again, and whether trying again can help at all.

Pure: the count of failures and a random number are arguments.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_OF_THE_MACHINE = re.compile(
    r"out of memory|bad_alloc|bad allocation|(can't|cannot|could not|failed to|unable to) allocate"
    r"|no such file|input/output error|stale file handle|no space left|too many open|timed out"
    r"|\berrno\b|\berrcode\b|system error",
    re.IGNORECASE,
)
"""What runtimes write in their own exceptions when it was not the file's content that stopped them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """Twice as long after each failure, and never quite as long as the others that failed with it.

    first_s   about the wait after the first failure
    most_s    the longest wait
    jitter    the share of a wait that is left to chance, 0 to 1
    """

    first_s: float = 1.0
    most_s: float = 300.0
    jitter: float = 0.5

    def wait_s(self, failures: int, chance: float) -> float:
        """The wait after so many failures in a row, at least 1; `chance` is from 0 to 1."""
        whole = self.most_s
        if failures < 64:
            whole = min(self.first_s * 2.0 ** (failures - 1), self.most_s)
        return whole * (1 - self.jitter * chance)


def may_pass(error: BaseException) -> bool:
    """Whether the same content may well be fine later: the machine failed, not the file.

    A file that vanished, an I/O error, a time-out, no memory; be it the error itself or what caused it.
    """
    return any(
        isinstance(each, (OSError, MemoryError)) or _OF_THE_MACHINE.search(str(each))
        for each in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
