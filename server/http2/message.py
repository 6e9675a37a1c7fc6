"""A message of gRPC, behind its prefix, as it comes in pieces."""

from server.http2.calls import CallHead

PREFIX_BYTES = 5
"""Before a message: whether it is packed, and its length."""


class IncomingMessage:
    """
    length  in bytes, without the prefix; -1 until that is here
    has     so many of them
    credit  bytes that have come, and that the client has not been given room for again
    """

    __slots__ = ("_chunks", "_prefix", "credit", "has", "head", "is_packed", "length")

    def __init__(self, head: CallHead) -> None:
        self.head = head
        self.length = -1
        self.has = 0
        self.is_packed = False
        self.credit = 0
        self._prefix = b""
        self._chunks: list[memoryview] = []

    def add(self, chunk: memoryview) -> None:
        if self.length < 0:
            missing = PREFIX_BYTES - len(self._prefix)
            self._prefix += chunk[:missing]
            if len(self._prefix) < PREFIX_BYTES:
                return
            chunk = chunk[missing:]
            self.is_packed = self._prefix[0] == 1
            self.length = int.from_bytes(self._prefix[1:])
        if chunk:
            self._chunks.append(chunk)
            self.has += len(chunk)

    def whole(self) -> bytes:
        """Put together, once."""
        return b"".join(self._chunks)
