"""What bundles of one kind have in common: written first, read once, and known again by its bytes.

A head is written in two parts, which protobuf reads as one: its heading, which the requests of a version
share as long as their tensors are called and shaped alike, and what is new with each bundle. Of a lone
request that is a dozen bytes. The heading has names, shapes and content, and is read once.
"""

from functools import lru_cache
from math import prod
from typing import NamedTuple, Self

from google.protobuf.message import DecodeError

from protos import stage_pb2 as pb
from server.domain.stage import StageName
from server.domain.tensors import DATATYPES, Datatype, Tensors, datatype_of
from server.wire.stage_numbers import STAGE_NAMES
from server.wire.varint import varint

HEAD, COLUMN = b"\x0a", b"\x12"
"""Tags of a `Bundle`'s head, or of a part of it, and of its columns."""

MOST_KNOWN = 512
"""Headings that are kept, of those that are written by one side and of all that are read."""

KNOWN_BYTES = 4096
"""A longer heading is read anew each time."""


class Broken(Exception):
    """A message that is no bundle: the other side is at fault, and nothing of it can be answered."""


class Column(NamedTuple):
    """One tensor as a bundle carries it.

    shape   of one request where the heading is stacked, else of one row
    bytes   of such a one, where any bytes will do; else 0
    what    it is called in a sentence
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    bytes: int
    what: str


class Heading:
    """What a bundle says beside its requests. Two that are equal need not be the same object.

    said      its bytes, a `Head` with nothing of single requests
    prefix    how a message begins that has this heading
    route     the stages that are left
    stacked   each column has one leading dimension for the requests, and no rows of its own
    row_bytes of all columns for a row, where any bytes will do for each of them; else 0
    """

    __slots__ = ("columns", "content", "model", "prefix", "route", "row_bytes", "said", "stacked", "version")

    def __init__(self, said: bytes, head: pb.Head) -> None:
        """Raises `Broken` for columns that nobody could read."""
        self.said = said
        self.prefix = HEAD + varint(len(said)) + said
        self.model: str = head.model
        self.version: int = head.version
        self.content: str = head.content
        self.route: tuple[StageName, ...] = tuple(
            [STAGE_NAMES[number] for number in head.route if number in STAGE_NAMES]
        )
        self.stacked: bool = head.stacked
        self.columns: tuple[Column, ...] = tuple([_column(tensor) for tensor in head.tensors])
        is_plain = not self.stacked and all(column.bytes for column in self.columns)
        self.row_bytes = sum([column.bytes for column in self.columns]) if is_plain else 0

    @classmethod
    def of(cls, head: pb.Head) -> Self:
        """As it is written, and as whoever reads it will see it."""
        return cls(head.SerializeToString(), head)


NO_HEADING = Heading.of(pb.Head())
"""Of what is said beside requests and answers."""


class Headings:
    """Those in which one side writes: what it always says, with the columns that it has met."""

    __slots__ = ("_always", "_made")

    def __init__(self, always: pb.Head) -> None:
        self._always = always
        self._made: dict[tuple[object, ...], Heading] = {}

    def of(self, tensors: Tensors, *, stacked: bool) -> Heading:
        """The heading of a bundle with these, which is the same object for all that can lie beside them.

        The first dimension of each is its rows, unless it is `stacked`. Raises `KeyError` for a dtype that
        the protocol lacks.
        """
        key = (stacked, *column_key(tensors, stacked))
        heading = self._made.get(key)
        if heading is None:
            if len(self._made) >= MOST_KNOWN:
                self._made.clear()
            head = pb.Head(stacked=stacked)
            head.MergeFrom(self._always)
            for name, array in tensors.items():
                shape = array.shape if stacked else array.shape[1:]
                head.tensors.add(name=name, datatype=datatype_of(array), shape=shape)
            heading = self._made[key] = Heading.of(head)
        return heading


def heading_of(said: bytes) -> Heading:
    """The heading with these bytes. Raises `Broken`."""
    return _known(said) if len(said) <= KNOWN_BYTES else _read(said)


def _read(said: bytes) -> Heading:
    try:
        return Heading(said, pb.Head.FromString(said))
    except DecodeError as error:
        raise Broken(f"a bundle cannot be read: {error}") from None


_known = lru_cache(maxsize=MOST_KNOWN)(_read)


def column_key(tensors: Tensors, stacked: bool) -> tuple[object, ...]:
    """Equal for those that can lie in one bundle."""
    return tuple(
        [(name, array.dtype, array.shape if stacked else array.shape[1:]) for name, array in tensors.items()]
    )


def _column(tensor: pb.Tensor) -> Column:
    datatype, shape = DATATYPES.get(tensor.datatype), tuple(tensor.shape)
    if datatype is None or (shape and min(shape) < 0):
        raise Broken(f"tensor '{tensor.name}' of a bundle has a datatype or shape that there is not")
    any_will_do = datatype.itemsize if datatype.name != "BOOL" else 0
    return Column(tensor.name, datatype, shape, any_will_do * prod(shape), f"tensor '{tensor.name}'")
