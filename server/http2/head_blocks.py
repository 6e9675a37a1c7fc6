"""Blocks of header fields, read once and known again. RFC 7541, "HPACK".

What a block means depends on the table that the blocks before it on its connection have filled. But the same
bytes in the same table always mean the same, and leave the same table behind. So what was read is kept by
both, for all connections: clients of one kind begin alike, and the first block of each is known. We tell
clients that we keep no table (SETTINGS_HEADER_TABLE_SIZE is 0); from when they have heard of it theirs is
empty, and stays so.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from hpack import Decoder, HPACKError, OversizedHeaderListError

from server.http2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault
from server.http2.pieces import pieces

MOST_KNOWN = 4096
"""Blocks that are kept, in all tables together."""

MOST_TABLES = 256
LONGEST_KNOWN = 1024
"""Bytes of a block: longer ones hold what is new each time, as tokens are."""

SEVEN_BITS = 0x7F

Field = tuple[bytes, bytes]
Fields = Sequence[Field]
H = TypeVar("H")

Entries = tuple[int, tuple[Field, ...]]
"""What a table may hold, in bytes, and what it holds, the newest first."""

FIELD_BYTES = 32
"""What a field counts beside its own bytes (section 4.1)."""

FRESH: Entries = (4096, ())
EMPTY: Entries = (0, ())


def literal(name: bytes, value: bytes) -> bytes:
    """A field that needs no table to be read, and enters none (section 6.2.2). No Huffman code."""
    return b"\x00" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    length = len(text)
    if length < SEVEN_BITS:
        return bytes((length,)) + text
    left, digits = length - SEVEN_BITS, bytearray((SEVEN_BITS,))
    while left >= 0x80:
        digits.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes((*digits, left)) + text


class Table(Generic[H]):
    """A client's table between two blocks, and what was read with it.

    stays   blocks that leave it as it is, and what they say
    goes    blocks that change it: what they say, and the table that comes of it
    """

    __slots__ = ("entries", "goes", "stays")

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.stays: dict[bytes, H] = {}
        self.goes: dict[bytes, tuple[H, Table[H]]] = {}


class KnownBlocks(Generic[H]):
    """What all connections have read so far: bounded, and begun anew when it is full.

    make         makes what is wanted of a block's fields; never raises, as no block may go unread
    most_bytes   of all fields of a block, decoded, each with `FIELD_BYTES` on top
    fresh        the table that every connection begins with
    """

    def __init__(self, make: Callable[[Fields], H], most_bytes: int) -> None:
        self.make = make
        self.most_bytes = most_bytes
        self.fresh: Table[H] = Table(FRESH)
        self._tables: dict[Entries, Table[H]] = {}
        self._fields: dict[bytes, Field] = {}
        self._without_table = Decoder(max_header_list_size=most_bytes)
        self._without_table.header_table_size = 0
        self._kept = 0
        self._begin_anew()

    def _begin_anew(self) -> None:
        for table in self._tables.values():
            table.stays.clear()
            table.goes.clear()
        empty = self._tables.get(EMPTY) or Table(EMPTY)
        self._tables = {FRESH: self.fresh, EMPTY: empty}
        self._kept = 0

    def read(self, table: Table[H], block: bytes) -> tuple[H, Table[H]]:
        """What it says, and the table after it.

        Raises `ConnectionFault`: what comes after a block that cannot be read, cannot be read either.
        """
        known = table.goes.get(block)
        if known is not None:
            return known
        head = table.stays.get(block)
        if head is not None:
            return head, table
        fields, entries = self._decoded(block, table.entries)
        head = self.make(fields)
        if self._kept >= MOST_KNOWN or len(self._tables) >= MOST_TABLES:
            self._begin_anew()
        table = self._tables.setdefault(table.entries, table)
        after = self._tables.setdefault(entries, Table(entries))
        if len(block) <= LONGEST_KNOWN:
            self._kept += 1
            if after is table:
                table.stays[block] = head
            else:
                table.goes[block] = head, after
        return head, after

    def _decoded(self, block: bytes, entries: Entries) -> tuple[Fields, Entries]:
        """Without a table each field means the same in any block: what is new in one is mostly one field."""
        apart = pieces(block) if entries == EMPTY else None
        if apart is None:
            return decoded(block, entries, self.most_bytes)
        fields, known, size = [], self._fields, 0
        for piece in apart:
            field = known.get(piece)
            if field is None:
                (field,) = _fields(self._without_table, piece)
                if len(piece) <= LONGEST_KNOWN:
                    if len(known) >= MOST_KNOWN:
                        known.clear()
                    known[piece] = field
            size += len(field[0]) + len(field[1]) + FIELD_BYTES
            if size > self.most_bytes:
                raise _too_long(self.most_bytes)
            fields.append(field)
        return fields, EMPTY


def decoded(block: bytes, entries: Entries, most_bytes: int) -> tuple[Fields, Entries]:
    """A block's fields, and the table after it. Raises `ConnectionFault`."""
    decoder = Decoder(max_header_list_size=most_bytes)
    table = decoder.header_table
    table.maxsize = entries[0]
    for name, value in reversed(entries[1]):
        table.add(name, value)
    fields = _fields(decoder, block)
    kept = tuple((bytes(name), bytes(value)) for name, value in table.dynamic_entries)
    return fields, (table.maxsize, kept)


def _fields(decoder: Decoder, block: bytes) -> Fields:
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except OversizedHeaderListError:
        raise _too_long(decoder.max_header_list_size) from None
    except (HPACKError, IndexError) as fault:
        raise ConnectionFault(COMPRESSION_ERROR, f"header fields that cannot be read: {fault}") from None


def _too_long(most_bytes: int) -> ConnectionFault:
    return ConnectionFault(ENHANCE_YOUR_CALM, f"header fields of more than {most_bytes} bytes")
