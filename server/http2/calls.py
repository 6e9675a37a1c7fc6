"""Who meets whom in a connection: it asks those who answer its calls, and they tell it what goes out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from server.http2.head_blocks import Fields, KnownBlocks


class CallHead:
    """What the fields of a call say.

    is_ours   whether its one message is to be handed over; else it is passed on, or refused
    refusal   fields to end it with at once; empty if it may go on
    said      what is handed over with its message
    """

    __slots__ = ("fields", "is_ours", "refusal", "said")

    def __init__(self, fields: Fields, *, is_ours: bool, refusal: bytes, said: Any = None) -> None:
        self.fields = fields
        self.is_ours = is_ours
        self.refusal = refusal
        self.said = said


class Front(Protocol):
    """The connection that calls are passed on for."""

    def passed_on(self, stream: int, bytes_: int) -> None:
        """So much of what a call has sent is out of the way."""

    def relay_fields(self, stream: int, block: bytes, ended: bool) -> None:
        """Fields of an answer, in a block that needs no table, of no more than a frame may hold."""

    def relay_data(self, stream: int, chunk: bytes, ended: bool, sent: Callable[[int], None]) -> None:
        """`sent` is told of all bytes, as they go out; of none that go nowhere."""

    def relay_reset(self, stream: int, code: int) -> None:
        """Nobody answers it, or not to its end."""


class Told(Protocol):
    """Whoever a call tells of its end.

    peer  who is at the other end, as gRPC writes it
    """

    peer: str

    def answer(self, stream: int, message: bytes) -> bool:
        """A good answer. False if it is known that nobody waits for it any more."""

    def fail(self, stream: int, fields: bytes) -> None:
        """An answer that is but these header fields, if anybody waits for it."""


class Line(Front, Told, Protocol):
    """A connection, as those see it who answer its calls."""

    def answer_packed(self, stream: int, packed: bytes, encoding: bytes) -> bool:
        """A good answer that is to be unpacked by this encoding. False as for `answer`."""

    def leave(self) -> None:
        """Tell the client to go; the connection ends with its last call."""

    def abort(self) -> None:
        """End it now."""


class Cancellable(Protocol):
    def cancel(self) -> None: ...


class Behind(Protocol):
    """Answers what is passed on, on behalf of one connection.

    is_over  whether nothing can be passed on there any more
    """

    is_over: bool

    def begin(self, stream: int, fields: Fields, ended: bool) -> None: ...

    def data(self, stream: int, chunk: bytes, ended: bool) -> None: ...

    def reset(self, stream: int, code: int) -> None: ...

    def close(self) -> None: ...


class Calls(Protocol):
    """Who answers calls.

    blocks            what all connections know of heads
    largest_message   in bytes
    """

    blocks: KnownBlocks[Any]
    largest_message: int

    def begin(self, line: Line, stream: int, said: Any, message: bytes, is_packed: bool) -> Cancellable:
        """A message has come whole; whom to tell if its client leaves."""

    def too_large(self, line: Line, stream: int, length: int) -> None:
        """A message of so many bytes, more than any may have, is being sent."""

    def spoiled(self, line: Line, stream: int, sentence: str) -> None:
        """What has come is not one message."""

    def behind(self, line: Line) -> Behind:
        """Where this connection's other calls are passed on to."""

    def joined(self, line: Line) -> None: ...

    def left(self, line: Line) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How connections are treated; times in seconds.

    most_streams       open at once
    ask_after_s        without a word, until a client is asked whether it is there
    answered_within_s  until one that does not answer that is given up
    asks_idle          whether one without a call is asked, too, and may ask
    most_pings         of ours between two answers; 0 for no limit
    ping_interval_s    a client that pings more often, with no answer in between, gets a strike
    most_strikes       until such a client is sent away; 0 for no limit
    max_age_s          until a client is told to connect anew, a tenth more or less; 0 for ever
    max_age_grace_s    what its calls then have to finish; 0 for as long as they need
    """

    most_streams: int
    ask_after_s: float
    answered_within_s: float
    asks_idle: bool
    most_pings: int = 0
    ping_interval_s: float = 0.0
    most_strikes: int = 0
    max_age_s: float = 0.0
    max_age_grace_s: float = 0.0
