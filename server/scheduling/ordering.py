"""Answers in the order in which the requests came, where Triton's `preserve_ordering` asks for it.

A run may overtake another one on a second instance, and a high priority a low one; its answers then wait
here until all before them have been given. A refusal, a failure or a caller who left holds nobody up.
"""

from collections import deque
from collections.abc import Callable, Collection

from server.scheduling.ticket import Ticket


class Ordering:
    """Lives on the event loop. Its batcher bounds it: answers that are kept take places of the queue."""

    __slots__ = ("_kept", "_line")

    def __init__(self) -> None:
        self._line: deque[Ticket] = deque()
        self._kept: dict[Ticket, Callable[[], None]] = {}

    @property
    def kept(self) -> Collection[Ticket]:
        """Those whose answer waits here."""
        return self._kept.keys()

    def join(self, ticket: Ticket) -> None:
        self._line.append(ticket)

    def answer(self, ticket: Ticket, give: Callable[[], None]) -> None:
        """Have the ticket's answer given, now or once those before it have theirs."""
        if not ticket.settled:
            self._kept[ticket] = give
        self.advance()

    def leave(self, ticket: Ticket) -> None:
        """One that was settled otherwise holds nobody up, and nothing of it is kept."""
        self._kept.pop(ticket, None)
        if ticket in self._line:
            self._line.remove(ticket)
        self.advance()

    def advance(self) -> None:
        """Give every answer that nobody stands before any more."""
        while self._line and (self._line[0] in self._kept or self._line[0].settled):
            first = self._line.popleft()
            give = self._kept.pop(first, None)
            if give is not None:
                give()
