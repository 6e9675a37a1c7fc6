"""Requests that went to another process together, and what is still to come back of them."""

from collections.abc import Sequence
from typing import Protocol

from protos import stage_pb2 as pb
from server.domain.errors import ServingError, TierUnavailable
from server.domain.stage import Spans, StageName
from server.domain.tensors import Tensors
from server.scheduling.ticket import Ticket
from server.stages.hop.ejection import Outlier
from server.wire.heading import Heading

PLACES = 1 << 16
"""Of requests in one parcel; a request's number on the wire is its parcel's times this, plus its place."""


class Sent(Protocol):
    """Whose parcel it is, and who hears of it, on the event loop: of each ticket once.

    model   what it asks for, for a sentence
    """

    model: str

    def answered(self, parcel: "Parcel", answers: Sequence[tuple[Ticket, Tensors]], spans: Spans) -> None:
        """Answers have come, of one run or more."""
        ...

    def refused(self, parcel: "Parcel", ticket: Ticket, error: ServingError) -> None:
        """One of it failed there."""
        ...

    def lost(self, parcel: "Parcel", tickets: Sequence[Ticket], error: TierUnavailable) -> None:
        """No answer will come of these."""
        ...


class Carrier(Protocol):
    """The way to one endpoint, be it a process of ours or another server.

    up        whether it can be sent anything at all
    outlier   whether it is to be left alone for a while
    """

    stage: StageName
    address: str
    up: bool
    outlier: Outlier

    @property
    def rows(self) -> int:
        """That are there, unanswered: the work that lies there."""
        ...

    def takes(self, size: int) -> bool:
        """Whether a request of so many bytes may go now."""
        ...

    @property
    def room(self) -> tuple[int, int]:
        """How many requests may go now, and bytes of all but the first."""
        ...

    def send(
        self,
        owner: Sent,
        heading: Heading,
        head: pb.Head | None,
        tickets: Sequence[Ticket],
    ) -> "Parcel":
        """Send requests; `head` says what they say beside their tensors. Their answers go to the owner."""
        ...

    def drop(self, parcel: "Parcel", ticket: Ticket) -> None:
        """Nobody waits for this one any more."""
        ...


class Parcel:
    """What a `Carrier` keeps until all of it is answered.

    link      it is on
    tickets   in their places; None where the answer has come
    left      how many wait for an answer
    open      how many the other side has not answered: those that were given up among them
    rows      of those, as a measure of the work that lies there
    sent      monotonic ns
    size      bytes of its message, and of what it has laid beside the wire
    regions   of shared memory in which the rest of it lies
    message   what is to be written; None once it was
    """

    __slots__ = (
        "left",
        "link",
        "message",
        "number",
        "open",
        "owner",
        "regions",
        "rows",
        "sent",
        "size",
        "tickets",
    )

    def __init__(
        self,
        link: Carrier,
        number: int,
        owner: Sent,
        tickets: list[Ticket | None],
        rows: int,
        sent: int,
        message: bytes,
        size: int,
        regions: Sequence[int] = (),
    ) -> None:
        self.link = link
        self.number = number
        self.owner = owner
        self.tickets = tickets
        self.left = self.open = len(tickets)
        self.rows = rows
        self.size = size
        self.regions = regions
        self.sent = sent
        self.message: bytes | None = message

    def take_whole(self) -> list[Ticket]:
        """All of its tickets, once; none if any had its answer already, or was given up."""
        tickets = [ticket for ticket in self.tickets if ticket is not None]
        if len(tickets) != len(self.tickets):
            return []
        self.tickets = [None] * len(tickets)
        self.left = self.open = self.rows = 0
        return tickets

    def take(self, place: int) -> Ticket | None:
        """The one at a place, once; None if it had its answer, or there is no such place."""
        if place >= len(self.tickets):
            return None
        ticket = self.tickets[place]
        if ticket is not None:
            self.tickets[place] = None
            self.left -= 1
            self.rows -= ticket.rows
        return ticket
