"""Answers in the order in which the requests came, where Triton's `preserve_ordering` asks for it.

A run may overtake another one on a second instance, and a high priority a low one; its answers then wait
here until all before them have been given. A refusal, a failure or a caller who left holds nobody up.
"""

from collections import deque

from server.domain.tensors import Array
from server.scheduling.ticket import RunFacts, Ticket


class Ordering:
    """Lives on the event loop. Bounded by the queue and the runs of its batcher."""

    __slots__ = ("_kept", "_line")

    def __init__(self) -> None:
        self._line: deque[Ticket] = deque()
        self._kept: dict[int, tuple[dict[str, Array], RunFacts]] = {}

    def join(self, ticket: Ticket) -> None:
        self._line.append(ticket)

    def answer(self, ticket: Ticket, outputs: dict[str, Array], run: RunFacts) -> None:
        """Give the answer, now or once those before it have theirs."""
        if not ticket.settled:
            self._kept[id(ticket)] = outputs, run
        self.advance()

    def advance(self) -> None:
        """Give every answer that nobody stands before any more."""
        while self._line:
            first = self._line[0]
            kept = self._kept.pop(id(first), None)
            if kept is None and not first.settled:
                return
            self._line.popleft()
            if kept is not None:
                first.answer(*kept)
