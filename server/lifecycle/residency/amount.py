"""Bytes as a person reads them, for sentences and tables."""

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def amount(count: float) -> str:
    """Four digits at most, rounded: "812 MiB", "1.5 GiB", "0 bytes"."""
    size, unit = abs(count), 0
    while size >= 1023.5 and unit < len(UNITS) - 1:
        size, unit = size / 1024, unit + 1
    digits = 1 if unit and size < 9.95 else 0
    sign = "-" if count < 0 else ""
    return f"{sign}{f'{size:.{digits}f}'.removesuffix('.0')} {UNITS[unit]}"
