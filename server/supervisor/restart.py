"""When a process that has ended is started again. Pure: times and chance are arguments."""

from dataclasses import dataclass, field, replace
from typing import Self

from server.domain.backoff import BackOff

REFUSALS = (1, 2)
"""Exit codes of a `serve` that has said in a sentence why it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRule:
    """Sooner after the first end than after the fifth in a row, and never not at all.

    back_off    the waits
    settled_s   who has lived so long has not failed at its start: its end is the first again
    """

    back_off: BackOff = field(default_factory=lambda: BackOff(first_s=0.5, most_s=30.0))
    settled_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Failures:
    """Ends in a row that nobody asked for, and in all."""

    in_a_row: int = 0
    ever: int = 0

    def after(self, rule: RestartRule, lived_s: float) -> Self:
        before = 0 if lived_s >= rule.settled_s else self.in_a_row
        return replace(self, in_a_row=before + 1, ever=self.ever + 1)

    def wait_s(self, rule: RestartRule, chance: float) -> float:
        """Until the next start; `chance` is from 0 to 1."""
        return rule.back_off.wait_s(self.in_a_row, chance)


def has_refused(code: int, *, ever_started: bool) -> bool:
    """Whether to start it again would be to ask the same and to be told the same.

    `ever_started` is whether any process has come up in this seat: what worked before may work again, as a
    port that is taken now. `code` is below 0 for a signal, which is no answer.
    """
    return not ever_started and code in REFUSALS
