"""Which runs may be done in place, on the event loop, as far as the runs so far have shown.

Pure arithmetic. What a run computes is the processor time of its thread, and hardly hangs on who else is
busy. It alone decides whether a run is short: by the time that callers wait, a busy machine would send every
short run to a thread, where it waits for the interpreter and looks long.

Estimates follow a shorter time at once and a longer one slowly. Sizes between two powers of two share one.
"""

IN_PLACE_NS = 250_000
"""A run that computes for less costs the loop no more than two hand-overs between busy threads do, which wait
for the interpreter besides."""

SLOWER = 0.05
"""How far one longer run moves the estimate: some fifty of them, and it is believed."""

SLOW_NS = 10_000_000
"""No model of microseconds computes this long, whatever the machine does: more than its size decides."""

FIRST_PROBATION = 1000
"""So many runs go to their thread after a slow one; twice as many after the next."""


class Pace:
    """The estimates of one model version, in nanoseconds. `size` is of a run's inputs, in elements."""

    __slots__ = ("_computes", "_next_probation", "_probation")

    def __init__(self) -> None:
        self._computes: dict[int, float] = {}
        self._probation = 0
        self._next_probation = FIRST_PROBATION

    def is_short(self, size: int) -> bool:
        """Whether a run of that size can be done where it would keep others waiting."""
        return not self._probation and 0.0 < self._computes.get(size.bit_length(), 0.0) < IN_PLACE_NS

    def note(self, size: int, computed_ns: int) -> None:
        """A run is over."""
        if self._probation:
            self._probation -= 1
        if computed_ns > SLOW_NS and self.is_short(size):
            self._probation = self._next_probation
            self._next_probation *= 2
        bits = size.bit_length()
        known = self._computes.get(bits)
        if known is None or computed_ns < known:
            self._computes[bits] = computed_ns
        else:
            self._computes[bits] = known + (computed_ns - known) * SLOWER
