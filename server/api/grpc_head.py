"""What the header fields of a gRPC call say, by gRPC's PROTOCOL-HTTP2.md, and those that end an answer."""

import binascii
import re
import zlib
from base64 import b64decode
from urllib.parse import quote

from server.api.grpc_packing import WINDOW_BITS, best_of
from server.domain.errors import InvalidRequest, RequestTooLarge
from server.http2.calls import CallHead
from server.http2.connection import HEAD_BLOCK
from server.http2.head_blocks import Fields, literal

UNIMPLEMENTED, INTERNAL = 12, 13

KIND = re.compile(rb"application/grpc(\+proto)?(;.*)?$")
TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])$")
SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
PRINTED = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
"""What a sentence's percent-encoding leaves as it is."""

OWN_FIELDS = frozenset(
    (b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding", b"grpc-message-type")
)
"""Said to gRPC, and so not metadata."""

Metadata = tuple[tuple[str, str | bytes], ...]


def ending(code: int, sentence: str) -> bytes:
    """The fields that end a call with an error, as a block."""
    message = quote(sentence, safe=PRINTED).encode()
    return literal(b"grpc-status", b"%d" % code) + literal(b"grpc-message", message)


class Said:
    """What a call says to gRPC.

    metadata   names and values; bytes where the name ends in -bin
    timeout_s  from the call's arrival; None if its client waits for ever
    packing    of messages that are packed
    unpacks    how its answer may be packed; empty for not at all
    """

    __slots__ = ("metadata", "packing", "timeout_s", "unpacks")

    def __init__(self, fields: Fields) -> None:
        """Raises `ValueError`, with a sentence for its client."""
        said = dict(fields)
        timeout = said.get(b"grpc-timeout")
        self.metadata: Metadata = tuple(
            _metadata(name, value) for name, value in fields if _is_metadata(name)
        )
        self.timeout_s = None if timeout is None else _seconds(timeout)
        self.packing = said.get(b"grpc-encoding", b"identity")
        self.unpacks = best_of(said.get(b"grpc-accept-encoding", b""))

    def unpacked(self, message: bytes, most_bytes: int) -> bytes:
        """Raises `InvalidRequest`, and `RequestTooLarge` if it would be longer than that."""
        bits = WINDOW_BITS.get(self.packing)
        if bits is None:
            raise InvalidRequest(
                f"the message is said to be packed, by {self.packing.decode(errors='replace')!r}; "
                "we know gzip and deflate"
            )
        unpacking = zlib.decompressobj(bits)
        try:
            whole = unpacking.decompress(message, most_bytes + 1)
        except zlib.error as fault:
            raise InvalidRequest(f"the message cannot be unpacked: {fault}") from None
        if len(whole) > most_bytes:
            raise RequestTooLarge(
                f"unpacked, the message has more than the {most_bytes} bytes that "
                "--grpc-max-message-bytes allows"
            )
        if not unpacking.eof or unpacking.unused_data:
            raise InvalidRequest("the message cannot be unpacked: it ends too early, or too late")
        return whole


def head_of(fields: Fields, ours: bytes) -> CallHead:
    """`ours` is the path of the calls whose message is to be handed over."""
    told = dict(fields)
    path, kind = told.get(b":path", b""), told.get(b"content-type", b"")
    refusal, said = b"", None
    if told.get(b":method") != b"POST" or not path.startswith(b"/") or not _is_well_formed(fields):
        refusal = literal(b":status", b"400")
    elif not KIND.match(kind):
        refusal = literal(b":status", b"415")
    elif path == ours:
        try:
            said = Said(fields)
        except ValueError as fault:
            refusal = HEAD_BLOCK + ending(INTERNAL, str(fault))
    return CallHead(fields, is_ours=said is not None, refusal=refusal, said=said)


def _is_well_formed(fields: Fields) -> bool:
    """No upper case, and nothing of a single hop; what begins with a colon comes first, and once."""
    pseudo, is_over = set(), False
    for name, _ in fields:
        if name[:1] == b":":
            if is_over or name in pseudo:
                return False
            pseudo.add(name)
        else:
            is_over = True
            if not name or name != name.lower() or name in (b"connection", b"transfer-encoding", b"upgrade"):
                return False
    return True


def _is_metadata(name: bytes) -> bool:
    return name[:1] != b":" and name not in OWN_FIELDS


def _metadata(name: bytes, value: bytes) -> tuple[str, str | bytes]:
    """Raises `ValueError`."""
    text = name.decode("ascii")
    if not text.endswith("-bin"):
        return text, value.decode("ascii", "replace")
    try:
        return text, b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        raise ValueError(f"{text} is not base64") from None


def _seconds(timeout: bytes) -> float:
    """Raises `ValueError`."""
    found = TIMEOUT.match(timeout)
    if found is None:
        raise ValueError(f"grpc-timeout is {timeout.decode(errors='replace')!r}")
    return int(found[1]) * SECONDS[found[2]]
