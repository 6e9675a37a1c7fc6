"""What waits to be sent until the other side has room for it. RFC 9113, sections 5.2 and 6.9."""

from collections import deque
from collections.abc import Callable

from server.http2.frames import (
    DATA,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    INITIAL_WINDOW,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    MAX_FRAME_SIZE,
    SMALLEST_FRAME,
    ConnectionFault,
    head,
)

LARGEST_FRAME_SENT = 2**20

Write = Callable[[bytes | memoryview], None]
Ending = Callable[[], bytes]
"""Makes the frames behind the last chunk, when it is their turn: fields are bound to an order."""


def with_the_data() -> bytes:
    """The ending of a stream that ends with its last DATA."""
    return b""


class _Waiting:
    """Of one stream.

    ending    what goes out after the last chunk; None if more may come
    sent      is told how many bytes have gone out
    """

    __slots__ = ("chunks", "ending", "sent")

    def __init__(self, sent: Callable[[int], None] | None) -> None:
        self.chunks: deque[memoryview] = deque()
        self.ending: Ending | None = None
        self.sent = sent


class Outflow:
    """Of one connection: windows of what may be sent, and the chunks that wait for them, stream by stream.

    window    bytes that the connection may still send
    initial   bytes that a stream may send that has not been granted more
    frame     bytes that a frame may hold
    granted   what streams may send beside `initial`; less than nothing once they have sent
    is_held   whether nothing is to be written now, as what was written has not gone out
    """

    __slots__ = ("_over", "_waiting", "_write", "frame", "granted", "initial", "is_held", "window")

    def __init__(self, write: Write, over: Callable[[int], None]) -> None:
        """`over` is told of each stream whose ending has been written."""
        self._write = write
        self._over = over
        self.window = self.initial = INITIAL_WINDOW
        self.frame = SMALLEST_FRAME
        self.is_held = False
        self.granted: dict[int, int] = {}
        self._waiting: dict[int, _Waiting] = {}

    def send(
        self,
        stream: int,
        chunk: bytes | memoryview,
        ending: Ending | None,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Send this now or later; `ending` is what goes out behind it, if it is the last of its stream."""
        waiting = self._waiting.get(stream)
        if waiting is None:
            waiting = self._waiting[stream] = _Waiting(sent)
        if len(chunk):
            waiting.chunks.append(memoryview(chunk))
        waiting.ending = ending
        if not self.is_held:
            self._go_on(stream, waiting)

    def grant(self, stream: int, bytes_: int) -> bool:
        """The other side has room for more of this stream, which is open. False if that is too much."""
        granted = self.granted.get(stream, 0) + bytes_
        if self.initial + granted > LARGEST_WINDOW:
            return False
        self.granted[stream] = granted
        if self._waiting and not self.is_held:
            waiting = self._waiting.get(stream)
            if waiting is not None:
                self._go_on(stream, waiting)
        return True

    def grant_all(self, bytes_: int) -> None:
        """The other side has room for more of this connection. Raises `ConnectionFault`."""
        self.window += bytes_
        if self.window > LARGEST_WINDOW:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "a window of more than 2^31-1 bytes")
        if self._waiting:
            self.go_on()

    def agree(self, setting: int, value: int) -> None:
        """The other side has set this: each stream's first window, also of those that have begun (section
        6.9.2), or the largest frame. Other settings are passed over.
        """
        if setting == INITIAL_WINDOW_SIZE:
            self.initial = value
            self.go_on()
        elif setting == MAX_FRAME_SIZE:
            self.frame = min(value, LARGEST_FRAME_SENT)

    def drop(self, stream: int) -> int:
        """The stream is over, and what waits of it goes nowhere: how many bytes."""
        self.granted.pop(stream, None)
        waiting = self._waiting.pop(stream, None)
        return sum(map(len, waiting.chunks)) if waiting is not None else 0

    def go_on(self) -> None:
        """Send what there is room for."""
        for stream, waiting in list(self._waiting.items()):
            if self.is_held:
                return
            self._go_on(stream, waiting)

    def _go_on(self, stream: int, waiting: _Waiting) -> None:
        chunks = waiting.chunks
        while chunks and not self.is_held:
            granted = self.granted.get(stream, 0)
            size = min(self.frame, self.window, self.initial + granted, len(chunks[0]))
            if size <= 0:
                return
            chunk = chunks.popleft()
            if size < len(chunk):
                chunks.appendleft(chunk[size:])
            self.window -= size
            self.granted[stream] = granted - size
            is_last = not chunks and waiting.ending is with_the_data
            self._write(head(size, DATA, END_STREAM if is_last else 0, stream))
            self._write(chunk[:size])
            if waiting.sent is not None:
                waiting.sent(size)
            if is_last:
                self._end(stream)
                return
        if chunks:
            return
        ending = waiting.ending
        if ending is None:
            self._waiting.pop(stream, None)
        else:
            self._write(ending() or head(0, DATA, END_STREAM, stream))
            self._end(stream)

    def _end(self, stream: int) -> None:
        self.drop(stream)
        self._over(stream)
