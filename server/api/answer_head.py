"""The head of an answer on the short way: status line and headers, as bytes."""

from functools import lru_cache
from http import HTTPStatus

from server.api.infer_door import Answer
from server.api.reply import Headers

STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}


def head_of(status: int, headers: Headers, keep_alive: bool) -> bytes:
    lines = [STATUS_LINES[status], *(b"%b: %b\r\n" % header for header in headers)]
    return b"".join(lines) + (b"\r\n" if keep_alive else b"connection: close\r\n\r\n")


@lru_cache(maxsize=1024)
def good_head(size: int, json_length: int | None, encoding: bytes, keep_alive: bool) -> bytes:
    """The head of a good answer: written once for answers of one size."""
    return head_of(200, Answer([], size, json_length, encoding).headers(), keep_alive)
