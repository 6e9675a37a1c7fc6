"""How long a run takes, as far as the runs so far have shown, and whether it may be done in place.

Pure arithmetic. A run's time is what the model needs and what it had to wait for: another thread, the
interpreter, the machine. The first is wanted, so the estimate follows a shorter time at once and a
longer one slowly. Sizes between two powers of two share an estimate.
"""

IN_PLACE_NS = 150_000
"""A run that takes less than this blocks the loop for less than two hand-overs between threads cost."""

SLOWER = 0.05
"""How far one longer run moves the estimate: some fifty of them, and it is believed."""

SLOW_NS = 10_000_000
"""No model of microseconds takes this long, whatever the machine does: more than its size decides."""

FIRST_PROBATION = 1000
"""So many runs go to their thread after a slow one; twice as many after the next."""


class Pace:
    """The estimates of one model version, in nanoseconds. `size` is of a run's inputs, in elements."""

    __slots__ = ("_by_size", "_next_probation", "_probation")

    def __init__(self) -> None:
        self._by_size: dict[int, float] = {}
        self._probation = 0
        self._next_probation = FIRST_PROBATION

    def expect(self, size: int) -> float:
        """The time of a run of that size; 0 for one that has not been seen."""
        return self._by_size.get(size.bit_length(), 0.0)

    def is_short(self, size: int) -> bool:
        """Whether a run of that size can be done where it would keep others waiting."""
        return not self._probation and 0.0 < self._by_size.get(size.bit_length(), 0.0) < IN_PLACE_NS

    def note(self, size: int, took_ns: int) -> None:
        """A run is over."""
        if self._probation:
            self._probation -= 1
        if took_ns > SLOW_NS and self.is_short(size):
            self._probation = self._next_probation
            self._next_probation *= 2
        bits = size.bit_length()
        known = self._by_size.get(bits)
        if known is None or took_ns < known:
            self._by_size[bits] = took_ns
        else:
            self._by_size[bits] = known + (took_ns - known) * SLOWER
