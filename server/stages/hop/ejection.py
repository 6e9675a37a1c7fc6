"""When an endpoint that is there and does not do its work is left alone for a while. Pure.

After Envoy's outlier detection: so many failures in a row, then a pause that grows with each time.
"""

IN_A_ROW = 5
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class Outlier:
    """What is known of one endpoint. Times are monotonic seconds.

    until     it is left alone
    well_at   when it last did what was asked
    times     it was, since it last did well for as long as a pause; `ejections` in all
    """

    __slots__ = ("_in_a_row", "ejections", "times", "until", "well_at")

    def __init__(self) -> None:
        self._in_a_row = 0
        self.times = self.ejections = 0
        self.until = self.well_at = 0.0

    def did_well(self, now: float) -> None:
        self.well_at = now
        self._in_a_row = 0
        if self.times and now > self.until + self._pause_s():
            self.times = 0

    def failed(self, now: float) -> bool:
        """It did not answer in time, or was lost. Whether that was once too often."""
        self._in_a_row += 1
        if self._in_a_row < IN_A_ROW or now < self.until:
            return False
        self._in_a_row = 0
        self.times += 1
        self.ejections += 1
        self.until = now + self._pause_s()
        return True

    def is_out(self, now: float) -> bool:
        return now < self.until

    def _pause_s(self) -> float:
        return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.times - 1)))
