"""The requests of one model version that wait, oldest first, in lanes.

A lane holds those that can share a run. Bounded by requests; a place is taken by `join` and given
back by `take` or `leave`.
"""

from collections import deque
from collections.abc import Iterator

from server.scheduling.ticket import Lane, Ticket


class Queue:
    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._lanes: dict[Lane, deque[Ticket]] = {}
        self._size = 0
        self.rows = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Ticket]:
        for lane in self._lanes.values():
            yield from lane

    @property
    def lanes(self) -> list[deque[Ticket]]:
        """Each with at least one ticket, the one whose oldest has waited longest first."""
        if len(self._lanes) == 1:
            return list(self._lanes.values())
        return sorted(self._lanes.values(), key=lambda lane: lane[0].queued)

    def join(self, ticket: Ticket) -> bool:
        """Take a place; False if there is none."""
        if self._size >= self._max_size:
            return False
        lane = self._lanes.get(ticket.lane)
        if lane is None:
            lane = self._lanes[ticket.lane] = deque()
        lane.append(ticket)
        self._size += 1
        self.rows += ticket.rows
        return True

    def take(self, lane: deque[Ticket], requests: int, rows: int) -> list[Ticket]:
        """The `requests` oldest of a lane, which have so many `rows`."""
        if requests == len(lane):
            taken = list(lane)
            del self._lanes[taken[0].lane]
        else:
            taken = [lane.popleft() for _ in range(requests)]
        self._size -= requests
        self.rows -= rows
        return taken

    def leave(self, ticket: Ticket) -> bool:
        """Take one ticket out of the line; False if it was not in it."""
        lane = self._lanes.get(ticket.lane)
        if lane is None:
            return False
        try:
            lane.remove(ticket)
        except ValueError:
            return False
        self._size -= 1
        self.rows -= ticket.rows
        if not lane:
            del self._lanes[ticket.lane]
        return True
