"""What requests on the short way begin with, known again without reading it: URLs, and whole heads."""

from dataclasses import dataclass

from server.api.infer_door import Target, Wishes, target_of

REMEMBERED_URLS = 4096
LONGEST_REMEMBERED_URL = 512
KNOWN_HEADS = 1024
LONGEST_KNOWN_HEAD = 1024
"""Anybody may send them, so they are kept neither in any number nor at any length."""


class Targets:
    """What the URLs name that have been asked for, read once each.

    `longest_name` is how many characters a model's name may have: one with more goes the long way, which
    refuses it.
    """

    def __init__(self, *, longest_name: int) -> None:
        self._longest_name = longest_name
        self._known: dict[bytes, Target | None] = {}

    def find(self, url: bytes) -> Target | None:
        """The target of an infer URL; None for any other, and for one that needs unquoting."""
        try:
            return self._known[url]
        except KeyError:
            target = None
            if b"%" not in url and b"?" not in url and url.isascii():
                target = target_of(url.decode())
            if target is not None and (target.verb != "infer" or len(target.model) > self._longest_name):
                target = None
            if len(url) <= LONGEST_REMEMBERED_URL:
                if len(self._known) >= REMEMBERED_URLS:
                    self._known.clear()
                self._known[url] = target
            return target


@dataclass(frozen=True, slots=True)
class Head:
    """What one head says; `size` is of the body, in bytes."""

    target: Target
    wishes: Wishes
    size: int


class Heads:
    """Heads of plain requests that have come before, byte for byte: they need no parser.

    A client sends the same head with other bodies behind it, again and again. Only a head that lay
    whole in one read, with its whole body and nothing else, is kept: so it ends where the parser
    saw it end, and the same bytes can only mean the same.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """The head and the body, if `data` is one whole request with a known head."""
        end = data.find(b"\r\n\r\n", 0, LONGEST_KNOWN_HEAD) + 4
        head = self._known.get(data[:end])
        if head is not None and len(data) == end + head.size:
            return head, data[end:]
        return None

    def keep(self, data: bytes, target: Target, wishes: Wishes, size: int) -> None:
        """`data` began with a plain request that leaves the connection open."""
        end = data.find(b"\r\n\r\n", 0, LONGEST_KNOWN_HEAD) + 4
        if end > 3 and len(data) == end + size:
            if len(self._known) >= KNOWN_HEADS:
                self._known.clear()
            self._known[data[:end]] = Head(target, wishes, size)
