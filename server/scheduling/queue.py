"""The requests of one model version that wait, in levels of priority and in lanes.

A lane holds those that can share a run, in the order in which they are to go. A level is one priority, with
its own bound and its own time limit; those of it whose time is over, where they are not refused, stand
behind the rest of it. Bounded by requests and by bytes: a place is taken by `join` and given back by `take`
or `leave`.

Most queues have one level whose requests are all alike. There whoever sees to it that no more than
`open_rows` wait may write down a newcomer by itself, and they come to stand where they belong when
somebody looks.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter

from server.domain.tensors import Tensors
from server.scheduling.shares import Shares
from server.scheduling.ticket import Lane, Ticket

Lanes = dict[Lane, deque[Ticket]]
Candidate = Sequence[deque[Ticket]]
"""Tickets that can share a run, in the order in which they would be taken: whole lanes, one after another."""

_order = attrgetter("order")


class Full(Enum):
    """Why there is no place."""

    REQUESTS = "requests"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How requests of one priority wait.

    max_size           requests, at least 1
    timeout_ns         in the queue; 0 for no limit
    delays             whether those whose time is over stand behind the others, and are not refused
    """

    max_size: int
    timeout_ns: int = 0
    delays: bool = False


class _Line:
    """The tickets of one level. `size` is kept where there are several levels, late ones or shares."""

    __slots__ = ("fresh", "late", "level", "shares", "size")

    def __init__(self, level: Level, shares: Shares | None) -> None:
        self.level = level
        self.shares = shares
        self.fresh: Lanes = {}
        self.late: Lanes = {}
        self.size = 0


class Queue:
    """`levels`, the highest first; a ticket that names none of them is of `default_level`.

    row_bytes   of the inputs of one row, where that is known; else the arrays are asked
    fair        whether clients share each level by their rows, whoever asks most

    size        requests that wait
    rows        of all of them
    gone        rows that do not wait any more
    open_rows   as long as no more than these wait, there is a place for whoever has no lane of its own
    newcomers   who took such a place, and is counted in `size` and `rows`, in the order of their coming
    """

    def __init__(
        self,
        levels: Sequence[Level],
        *,
        default_level: int,
        max_bytes: int,
        row_bytes: int = 0,
        fair: bool = False,
    ) -> None:
        self._lines = tuple(_Line(level, Shares() if fair else None) for level in levels)
        self._default = default_level - 1
        self._max_bytes = max_bytes
        self._row_bytes = row_bytes
        self._groups: tuple[Lanes, ...] = tuple(
            group for line in self._lines for group in ((line.fresh, line.late))
        )
        self._plain = len(levels) == 1 and not levels[0].delays and not fair
        self._one = self._lines[0]
        self.timed = any(level.timeout_ns for level in levels)
        self.open_rows = 0
        if self._plain and row_bytes and not self.timed:
            self.open_rows = min(levels[0].max_size, max_bytes // row_bytes)
        self.newcomers: list[Ticket] = []
        self.size = 0
        self.rows = self.gone = 0
        self._bytes = 0  # where the rows do not tell them

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Ticket]:
        self._place()
        for group in self._groups:
            for lane in group.values():
                yield from lane

    @property
    def bytes(self) -> int:
        """Of the inputs of all who wait."""
        return self.rows * self._row_bytes or self._bytes

    def level_of(self, ticket: Ticket) -> Level:
        return self._line_of(ticket).level

    def candidates(self) -> list[Candidate]:
        """Who could go together, the most urgent first: by level, then by who has waited longest."""
        lane = self._place() if self.newcomers else None
        if self._plain:
            lanes = self._one.fresh
            if len(lanes) == 1:
                return [(lane,) if lane is not None else tuple(lanes.values())]
            return [(lane,) for lane in sorted(lanes.values(), key=_first)]
        found: list[Candidate] = []
        seen: set[Lane] = set()
        for at, group in enumerate(self._groups):
            for lane in sorted(group.values(), key=_first):
                key = lane[0].lane
                if key not in seen:
                    seen.add(key)
                    found.append([lane, *(g[key] for g in self._groups[at + 1 :] if key in g)])
        return found

    def join(self, ticket: Ticket) -> Full | None:
        """Take a place, or say why there is none. One request alone may be as large as it likes."""
        self._place()
        plain = self._plain
        line = self._one if plain else self._line_of(ticket)
        if (self.size if plain else line.size) >= line.level.max_size:
            return Full.REQUESTS
        size = self._size_of(ticket)
        if self.bytes + size > self._max_bytes and self.size:
            return Full.BYTES
        if not self._row_bytes:
            ticket.size = size
            self._bytes += size
        self.size += 1
        self.rows += ticket.rows
        if not plain:
            line.size += 1
            if line.shares is not None:
                ticket.order = line.shares.tag(ticket.client, ticket.rows)
        _stand(line.fresh, ticket)
        return None

    @property
    def is_plain(self) -> bool:
        """Whether whoever joins goes behind all others of its lane."""
        return self._plain

    def rows_ahead(self, ticket: Ticket) -> int:
        """Of those who would go before a ticket that joins now, or with it."""
        if self._plain:
            return self.rows
        own = self._line_of(ticket)
        total = 0
        for line in self._lines:
            lanes = [*line.fresh.values(), *(line.late.values() if line is not own else ())]
            if line is own and line.shares is not None:
                start = line.shares.start(ticket.client)
                total += sum([each.rows for lane in lanes for each in lane if each.order <= start])
            else:
                total += sum([each.rows for lane in lanes for each in lane])
            if line is own:
                break
        return total

    def give_way(self, newcomer: Ticket) -> Ticket | None:
        """Take out the newest ticket of who has most in a full level, if the newcomer has less there.

        Nobody goes if the newcomer would not fit all the same.
        """
        line = self._line_of(newcomer)
        holder = line.shares.gives_way(newcomer.client) if line.shares is not None else None
        if holder is None:
            return None
        theirs = [
            each
            for group in (line.fresh, line.late)
            for lane in group.values()
            for each in lane
            if each.client == holder
        ]
        newest = max(theirs, key=_order)
        if self.bytes - self._size_of(newest) + self._size_of(newcomer) > self._max_bytes and self.size > 1:
            return None
        self.leave(newest)
        return newest

    def take(self, candidate: Candidate, requests: int, rows: int) -> list[Ticket]:
        """The first `requests` of them, which have so many `rows`."""
        if self._plain:
            lane = candidate[0]
            if requests == len(lane):
                taken = list(lane)
                del self._one.fresh[taken[0].lane]
            else:
                taken = [lane.popleft() for _ in range(requests)]
        else:
            taken = []
            for lane in candidate:
                taken += [lane.popleft() for _ in range(min(requests - len(taken), len(lane)))]
            for ticket in taken:
                line = self._line_of(ticket)
                line.size -= 1
                if line.shares is not None:
                    line.shares.taken(ticket.client, ticket.order)
            self._sweep(taken[0].lane)
        self.size -= requests
        self.rows -= rows
        self.gone += rows
        if not self._row_bytes:
            self._bytes -= sum([ticket.size for ticket in taken])
        return taken

    def leave(self, ticket: Ticket) -> bool:
        """Take one ticket out of the line; False if it was not in it."""
        self._place()
        line = self._line_of(ticket)
        for group in (line.fresh, line.late):
            lane = group.get(ticket.lane)
            if lane is not None and _remove(lane, ticket):
                if not lane:
                    del group[ticket.lane]
                self.size -= 1
                self.rows -= ticket.rows
                self.gone += ticket.rows
                if not self._row_bytes:
                    self._bytes -= ticket.size
                if not self._plain:
                    line.size -= 1
                if line.shares is not None:
                    line.shares.withdrawn(ticket.client, ticket.rows)
                return True
        return False

    def by_arrival(self) -> None:
        """Have all who wait go in the order in which they came; with shares, as it is."""
        self._place()
        for line in self._lines:
            for group in (line.fresh, line.late) if line.shares is None else ():
                for key, lane in group.items():
                    for ticket in lane:
                        ticket.order = ticket.queued
                    group[key] = deque(sorted(lane, key=_order))

    def fall_behind(self, ticket: Ticket) -> None:
        """A waiting ticket whose time in the queue is over goes behind those of its level whose is not."""
        self._place()
        line = self._line_of(ticket)
        lane = line.fresh.get(ticket.lane)
        if lane is not None and _remove(lane, ticket):
            if not lane:
                del line.fresh[ticket.lane]
            ticket.expires = 0
            _stand(line.late, ticket)

    def soonest(self) -> Ticket:
        """Of the first in each lane of the highest level that has one, the one who came or is due first."""
        self._place()
        group = next(group for group in self._groups if group)
        return min([lane[0] for lane in group.values()], key=_first_of)

    def _place(self) -> deque[Ticket] | None:
        """Have the newcomers, if there are any, stand in the lane of those who are all alike: that lane."""
        newcomers = self.newcomers
        if not newcomers:
            return None
        self.newcomers = []
        lanes = self._one.fresh
        lane = lanes.get(None)
        if lane is None and len(newcomers) == 1:
            lanes[None] = lane = deque(newcomers)
            return lane
        orders = [ticket.order for ticket in newcomers]
        if orders != sorted(orders) or (lane is not None and lane[-1].order > orders[0]):
            for ticket in newcomers:
                _stand(lanes, ticket)
        elif lane is None:
            lanes[None] = deque(newcomers)
        else:
            lane += newcomers
        return lanes[None]

    def _size_of(self, ticket: Ticket) -> int:
        return ticket.rows * self._row_bytes if self._row_bytes else ticket.size or input_bytes(ticket.inputs)

    def _line_of(self, ticket: Ticket) -> _Line:
        priority = ticket.priority
        return self._lines[priority - 1 if 0 < priority <= len(self._lines) else self._default]

    def _sweep(self, lane: Lane) -> None:
        for group in self._groups:
            if lane in group and not group[lane]:
                del group[lane]


def _stand(lanes: Lanes, ticket: Ticket) -> None:
    lane = lanes.get(ticket.lane)
    if lane is None:
        lanes[ticket.lane] = deque((ticket,))
    elif lane and lane[-1].order > ticket.order:
        insort(lane, ticket, key=_order)
    else:
        lane.append(ticket)


def _remove(lane: deque[Ticket], ticket: Ticket) -> bool:
    try:
        lane.remove(ticket)
    except ValueError:
        return False
    return True


def _first_of(ticket: Ticket) -> tuple[float, int]:
    return ticket.order, ticket.queued


def _first(lane: deque[Ticket]) -> tuple[float, int]:
    return _first_of(lane[0])


def input_bytes(inputs: Tensors) -> int:
    """What inputs hold; of strings, their own bytes too."""
    total = 0
    for array in inputs.values():
        total += array.nbytes
        if array.dtype.hasobject:
            total += sum([len(element) for element in array.flat])
    return total
