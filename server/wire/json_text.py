"""JSON text, both ways, with NaN and Infinity as the bare literals that Triton's clients send.

orjson reads and writes everything that is JSON. The literals are not JSON: only a text that holds
one pays for the slower reader, only an array that holds one for the writing of it.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from server.domain.errors import InvalidRequest
from server.domain.run_outputs import Kind, RunOutputs
from server.domain.tensors import Array
from server.wire.raw import Buffer


def read(text: Buffer, what: str = "the request") -> Any:
    """Parse one JSON text. Raises `InvalidRequest` with the place of the first fault.

    Nesting is limited by both readers, to about a thousand levels. A whole number beyond 64 bits
    may arrive as a float.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        text = bytes(text)
        if b"NaN" in text or b"Infinity" in text:
            return _read_with_literals(text, what)
        raise InvalidRequest(f"{what} is not JSON: {error}") from None


def _read_with_literals(text: bytes, what: str) -> Any:
    try:
        document = json.loads(text.decode())
        if b"\\u" in text:
            orjson.dumps(document)  # refuses half a surrogate pair, which only this reader lets pass
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"{what} is not JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest(f"{what} is JSON that is nested too deeply") from None
    return document


def write_elements(array: Array) -> bytes:
    """The elements of a numeric array as one flat JSON list, in row-major order.

    Written from the array's memory, a float32 with its own few digits. Not for BYTES or BF16.
    """
    flat = array.ravel()
    text = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"n" in text:  # orjson writes `null` for what is not finite; nothing else here has an n
        text = _with_literals(text, flat)
    return text


def rows_of(shared: RunOutputs, kind: Kind) -> Sequence[bytes] | None:
    """The elements of each row of a run's one output, without brackets; None if it is of another kind, or if
    they cannot be told apart so: a number that is not finite, or rows without any.

    Written at once by whoever asks first.
    """
    if shared.texts is not None and shared.texts[0] == kind:
        return shared.texts[1]
    array, texts = shared.only(kind), None
    if array is not None and array.size:
        rows = np.ascontiguousarray(array).reshape(len(array), -1)
        text = orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)
        if b"n" not in text:  # a `null`, as `write_elements` knows
            texts = text[2:-2].split(b"],[")
    shared.texts = kind, texts
    return texts


def _with_literals(text: bytes, flat: Array) -> bytes:
    pieces = text.split(b"null")
    literals = [
        b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity"
        for value in flat[~np.isfinite(flat)].tolist()
    ]
    literals.append(b"")
    return b"".join(part for pair in zip(pieces, literals, strict=True) for part in pair)
