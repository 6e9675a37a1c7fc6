"""Where in a stretch of bytes there is room: whoever asks gets the lowest hole that is large enough.

Pure: offsets and sizes, no memory. Taken stretches never overlap, and once all are given back there is one
hole again. Low places go first, so that what lies above them can be given back to the system.
"""

from bisect import bisect_left


class Holes:
    """A stretch of `size` bytes, all of it free at first. Its owner locks."""

    def __init__(self, size: int) -> None:
        self._end = size
        self._starts = [0]
        self._sizes = {0: size}
        self.free = size
        """Bytes in all holes together."""

    def take(self, size: int) -> int | None:
        """Where `size` bytes, at least 1, are free; None where they are not in one piece."""
        for number, start in enumerate(self._starts):
            room = self._sizes[start]
            if room < size:
                continue
            del self._sizes[start]
            if room == size:
                del self._starts[number]
            else:
                self._starts[number] = start + size
                self._sizes[start + size] = room - size
            self.free -= size
            return start
        return None

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

    def is_free_from(self, start: int) -> bool:
        """Whether nobody has a byte from there on."""
        if not self._starts:
            return False
        last = self._starts[-1]
        return last <= start and last + self._sizes[last] == self._end
