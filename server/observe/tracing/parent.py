"""What a caller says of the trace that its request belongs to: the W3C header `traceparent`.

Source: W3C Trace Context, level 1. A header that is not as it should be counts as absent.
"""

import re
from dataclasses import dataclass
from typing import Self

SAMPLED = 0x01
_WRITTEN = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parent:
    """A span of somebody's, in whose trace a request is.

    sampled   whether it is recorded there, and is to be recorded here
    """

    trace_id: int
    span_id: int
    sampled: bool = True

    @classmethod
    def read(cls, text: str | bytes | None) -> Self | None:
        """None where there is none that can be read."""
        if isinstance(text, bytes):
            text = text.decode("latin-1")
        found = _WRITTEN.fullmatch(text.strip()) if text else None
        if found is None:
            return None
        version, trace_id, span_id, flags, more = found.groups()
        if version == "ff" or (version == "00" and more is not None):
            return None
        if not int(trace_id, 16) or not int(span_id, 16):
            return None
        return cls(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & SAMPLED))

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{SAMPLED if self.sampled else 0:02x}"
