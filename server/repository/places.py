"""Where each field stands in a text configuration.

protobuf's parser forgets the places once it has the values, and what is wrong with a value is often
seen only later. So the text is read once more, for the places alone. A text that does not parse
is read as far as it makes sense: the place of the error then tells which field was being written.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#[^\n]*)
      | (?P<text>"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)
      | (?P<word>[\w.+\-/]+)
      | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_OPENING, _CLOSING = frozenset("{<"), frozenset("}>")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Line and column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Places:
    """The place of every field of a message that is written in its text, which is read once somebody asks.

    An element of a repeated field is `name[index]`.
    """

    text: str
    message: Descriptor

    @cached_property
    def by_field(self) -> Mapping[str, Place]:
        """Never raises, whatever the text."""
        reader = _Reader(self.text)
        while reader.token:
            reader.message("", self.message)
        return reader.found

    def wrote(self, field: str) -> bool:
        """Whether the operator wrote this field at all, be it with its default."""
        return field in self.by_field

    def find(self, field: str) -> Place | None:
        """The place of the field, or of the nearest one around it that is written."""
        while field:
            if field in self.by_field:
                return self.by_field[field]
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return None

    def field_at(self, place: Place) -> str:
        """The field that was being written at this place; empty before the first one."""
        fields = sorted(self.by_field.items(), key=lambda written: written[1])
        at = bisect_right([start for _, start in fields], place)
        return fields[at - 1][0] if at else ""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: Place


def _tokens(text: str) -> Iterator[_Token]:
    line, line_start = 1, 0
    for match in _TOKEN.finditer(text):
        kind, piece = str(match.lastgroup), match.group()
        if kind != "blank":
            yield _Token(kind, piece, Place(line, match.start() - line_start + 1))
        if "\n" in piece:
            line += piece.count("\n")
            line_start = match.start() + piece.rfind("\n") + 1


class _Reader:
    """Walks the tokens beside the message's descriptor, so its depth is that of the message type."""

    def __init__(self, text: str) -> None:
        self.found: dict[str, Place] = {}
        self._tokens = _tokens(text)
        self.token = next(self._tokens, None)

    def message(self, prefix: str, descriptor: Descriptor) -> None:
        """Read fields up to and with the closing bracket."""
        elements: defaultdict[str, int] = defaultdict(int)
        while self.token:
            token = self._take()
            if token.text in _CLOSING:
                return
            if token.kind == "word":
                field = descriptor.fields_by_name.get(token.text)
                self._field(prefix + token.text, token.place, field, elements)

    def _field(
        self, path: str, place: Place, field: FieldDescriptor | None, elements: defaultdict[str, int]
    ) -> None:
        self.found.setdefault(path, place)
        self._skip(":")
        if not self._skip("["):
            self._value(path, place, field, elements)
            return
        while self.token and not self._skip("]"):
            if self.token.text in _CLOSING:
                return
            if not self._skip(","):
                self._value(path, self.token.place, field, elements)

    def _value(
        self, path: str, place: Place, field: FieldDescriptor | None, elements: defaultdict[str, int]
    ) -> None:
        if field is not None and field.is_repeated:
            index = elements[path]
            elements[path] += 1
            path = f"{path}[{index}]"
        self.found.setdefault(path, place)
        if self.token is None or self.token.text in _CLOSING:
            return
        token = self._take()
        if token.text in _OPENING:
            if field is not None and field.message_type is not None:
                self.message(f"{path}.", field.message_type)
            else:
                self._skip_brackets()
        while token.kind == "text" and self.token and self.token.kind == "text":
            self._take()

    def _skip_brackets(self) -> None:
        depth = 1
        while self.token and depth:
            text = self._take().text
            depth += (text in _OPENING) - (text in _CLOSING)

    def _skip(self, mark: str) -> bool:
        if self.token and self.token.text == mark:
            self._take()
            return True
        return False

    def _take(self) -> _Token:
        token = self.token
        assert token is not None
        self.token = next(self._tokens, None)
        return token
