"""Where each field of a block ends, without reading what it says. RFC 7541, section 6."""

INDEXED = 0x80
WITH_INDEXING = 0x40
TABLE_SIZE = 0x20
SIX_BITS, FOUR_BITS, SEVEN_BITS = 0x3F, 0x0F, 0x7F

MOST_DIGITS = 4
"""Of a number beyond its first byte: 2^28 is more than any block has."""


def pieces(block: bytes) -> list[bytes] | None:
    """Each field as it is written; None if the table's size changes, or the block ends too early."""
    found, at, end = [], 0, len(block)
    while at < end:
        begun, first = at, block[at]
        if first & INDEXED:
            strings = 0
            mask = SEVEN_BITS
        elif first & WITH_INDEXING:
            mask = SIX_BITS
            strings = 1 if first & mask else 2
        elif first & TABLE_SIZE:
            return None
        else:
            mask = FOUR_BITS
            strings = 1 if first & mask else 2
        at += 1
        if first & mask == mask:
            at = _number(block, at)[1]
        for _ in range(strings):
            if not 0 < at < end:
                return None
            length = block[at] & SEVEN_BITS
            at += 1
            if length == SEVEN_BITS:
                length, at = _number(block, at)
                if not at:
                    return None
            at += length
        if not 0 < at <= end:
            return None
        found.append(block[begun:at])
    return found


def _number(block: bytes, at: int) -> tuple[int, int]:
    """What digits from there on add to 127 (section 5.1), and where they end; 0 for nowhere."""
    number = SEVEN_BITS
    for shift, digit in enumerate(block[at : at + MOST_DIGITS]):
        number += (digit & SEVEN_BITS) << 7 * shift
        if digit < 0x80:
            return number, at + shift + 1
    return 0, 0
