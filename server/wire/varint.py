"""Whole numbers as protobuf writes lengths and tags."""

from functools import lru_cache


@lru_cache(maxsize=1024)
def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first, the top bit set on all but the last. `number` is not negative."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
