"""How long a run of so many rows takes, as far as the runs so far have shown.

Pure arithmetic. A run's time is what the model needs and what it had to wait for: another thread, the
interpreter, the machine. The first is wanted, so the estimate follows a shorter time at once and a
longer one slowly. Sizes between two powers of two share an estimate.
"""

SLOWER = 0.05
"""How far one longer run moves the estimate: some fifty of them, and it is believed."""


class Pace:
    """The estimates of one model version, in nanoseconds."""

    __slots__ = ("_by_size",)

    def __init__(self) -> None:
        self._by_size: dict[int, float] = {}

    def expect(self, rows: int) -> float:
        """The time of a run with so many rows; 0 for a size that has not been seen."""
        return self._by_size.get(rows.bit_length(), 0.0)

    def note(self, rows: int, took_ns: int) -> None:
        size = rows.bit_length()
        known = self._by_size.get(size)
        if known is None or took_ns < known:
            self._by_size[size] = took_ns
        else:
            self._by_size[size] = known + (took_ns - known) * SLOWER
