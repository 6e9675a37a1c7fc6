"""Where in a stretch of bytes there is room: whoever asks gets the lowest hole that is large enough.

Pure: offsets and sizes, no memory. Taken stretches never overlap, and once all are given back there is one
hole again. Low places go first, so that what lies above them can be given back to the system.
"""

from bisect import bisect_left, bisect_right


class Holes:
    """A stretch of `size` bytes, all of it free at first. Its owner locks."""

    def __init__(self, size: int) -> None:
        self._end = size
        self._starts = [0]
        self._sizes = {0: size}
        self.free = size
        """Bytes in all holes together."""

    def take(self, size: int, besides: tuple[int, int] | None = None) -> int | None:
        """Where `size` bytes, at least 1, are free; None where they are not in one piece.

        Of the stretch `besides`, from its begin to its end, nothing is given.
        """
        for start in self._starts:
            end = start + self._sizes[start]
            for low, high in ((start, end),) if besides is None else _around(start, end, *besides):
                if high - low >= size:
                    self._cut(start, low, low + size)
                    return low
        return None

    def take_at(self, start: int, size: int) -> bool:
        """Take this very stretch, if all of it is free."""
        place = bisect_right(self._starts, start) - 1
        if place < 0 or start + size > self._starts[place] + self._sizes[self._starts[place]]:
            return False
        self._cut(self._starts[place], start, start + size)
        return True

    def emptiest(self, size: int) -> tuple[int, int]:
        """The stretch of `size` bytes with the most free ones, of those that begin or end with a hole."""
        begins = {0, *self._starts, *(start + self._sizes[start] - size for start in self._starts)}
        best = max(
            (min(max(begin, 0), self._end - size) for begin in sorted(begins)),
            key=lambda begin: self._free_between(begin, begin + size),
        )
        return best, best + size

    def give(self, start: int, size: int) -> None:
        """What was taken there is free again, and one with the holes beside it."""
        self.free += size
        place = bisect_left(self._starts, start)
        if place < len(self._starts) and start + size == self._starts[place]:
            size += self._sizes.pop(self._starts.pop(place))
        if place:
            before = self._starts[place - 1]
            if before + self._sizes[before] == start:
                self._sizes[before] += size
                return
        self._starts.insert(place, start)
        self._sizes[start] = size

    @property
    def in_use_below(self) -> int:
        """From here on nobody has a byte."""
        if not self._starts:
            return self._end
        last = self._starts[-1]
        return last if last + self._sizes[last] == self._end else self._end

    def _cut(self, hole: int, start: int, end: int) -> None:
        """Leave of a hole what lies before `start` and from `end` on."""
        place = bisect_left(self._starts, hole)
        over = hole + self._sizes.pop(hole)
        left = [(low, high - low) for low, high in ((hole, start), (end, over)) if high > low]
        self._starts[place : place + 1] = [low for low, _ in left]
        self._sizes.update(left)
        self.free -= end - start

    def _free_between(self, low: int, high: int) -> int:
        return sum(max(0, min(start + self._sizes[start], high) - max(start, low)) for start in self._starts)


def _around(start: int, end: int, low: int, high: int) -> tuple[tuple[int, int], ...]:
    """What a stretch has before and behind another one."""
    return (start, min(end, low)), (max(start, high), end)
