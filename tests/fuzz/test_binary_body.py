"""Tensors in bytes after their JSON: right requests, and what accidents make of each of their parts."""

import gzip
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.line import Answer, in_chunks, request, to_model
from tests.contract.question import BINARY, Question
from tests.contract.rows import Asker
from tests.fuzz.accidents import INPUTS, MODELS, VALUES, places
from tests.fuzz.harm import LATE, is_sound

many = settings(settings.get_profile("fuzz"))

PACKERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
    "br": bytes,
    "gzip, deflate": lambda body: zlib.compress(gzip.compress(body)),
}
DATATYPES = ("BOOL", "UINT8", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64", "BYTES", "fp32", "", 7)
SIZES = st.integers(-1, 9) | st.sampled_from([2**31, 2**32, 2**62, 2**63, 2**64, 2**70])
LENGTHS = st.integers(-2, 40) | st.sampled_from([2**31, 2**63, 2**64, 10**18, 10**30])


@dataclass
class Body:
    """The parts of one request, before they are put together."""

    model: str
    document: dict[str, Any]
    tensors: list[bytes]
    length: str | None = None
    tail: bytes = b""
    encoding: str = ""

    def put_together(self) -> tuple[bytes, list[str]]:
        """The body, and the headers that say how to read it."""
        text = json.dumps(self.document).encode()
        body = b"".join([text, *self.tensors, self.tail])
        length = str(len(text)) if self.length is None else self.length
        headers = [f"Inference-Header-Content-Length: {length}"]
        if self.encoding:
            body = PACKERS[self.encoding](body)
            headers.append(f"Content-Encoding: {self.encoding}")
        return body, headers


def good(model: str) -> Body:
    sent = Question(model, INPUTS[model]).over_http(BINARY).partition(b"\r\n\r\n")[2]
    tensors = [tensor.raw() for tensor in INPUTS[model]]
    return Body(model, json.loads(sent[: len(sent) - sum(map(len, tensors))]), tensors)


def spoil_length(draw: st.DrawFn, body: Body) -> None:
    right = len(json.dumps(body.document).encode())
    body.length = draw(
        st.integers(-3, 3).map(lambda off: str(right + off))
        | LENGTHS.map(str)
        | st.from_regex(r"[ -~]{0,6}", fullmatch=True)
    )


def spoil_document(draw: st.DrawFn, body: Body) -> None:
    found = list(places(body.document))
    if found:
        holder, key = draw(st.sampled_from(found))
        if draw(st.booleans()):
            holder[key] = draw(VALUES)
        else:
            del holder[key]


def spoil_input(member: str, values: st.SearchStrategy[Any]) -> Any:
    def spoil(draw: st.DrawFn, body: Body) -> None:
        inputs = body.document.get("inputs")
        if isinstance(inputs, list) and inputs and isinstance(inputs[0], dict):
            draw(st.sampled_from([each for each in inputs if isinstance(each, dict)]))[member] = draw(values)

    return spoil


def spoil_bytes(draw: st.DrawFn, body: Body) -> None:
    """Lost, more, or others: of a text, its length too."""
    index = draw(st.integers(0, len(body.tensors) - 1))
    content = bytearray(body.tensors[index])
    at = draw(st.integers(0, len(content)))
    match draw(st.sampled_from(["cut", "more", "prefix", "flip"])):
        case "cut":
            del content[at:]
        case "more":
            content[at:at] = draw(st.binary(max_size=9))
        case "prefix":
            content[at : at + 4] = struct.pack("<I", draw(st.integers(0, 9) | st.integers(0, 2**32 - 1)))
        case _:
            content[at : at + 1] = bytes([draw(st.integers(0, 255))])
    body.tensors[index] = bytes(content)


def spoil_order(draw: st.DrawFn, body: Body) -> None:
    body.tensors = draw(st.permutations(body.tensors * 2))[: draw(st.integers(0, 3))] or [b""]


def spoil_tail(draw: st.DrawFn, body: Body) -> None:
    body.tail = draw(st.binary(max_size=20))


def spoil_encoding(draw: st.DrawFn, body: Body) -> None:
    body.encoding = draw(st.sampled_from(sorted(PACKERS)))


ACCIDENTS = (
    spoil_length,
    spoil_document,
    spoil_input("shape", st.lists(SIZES, max_size=70) | VALUES),
    spoil_input("datatype", st.sampled_from(DATATYPES)),
    spoil_input("parameters", st.fixed_dictionaries({"binary_data_size": LENGTHS | VALUES})),
    spoil_input("data", VALUES),
    spoil_bytes,
    spoil_order,
    spoil_tail,
    spoil_encoding,
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes, list[str]]:
    """A model's name, a body and its headers: right but for up to three accidents, and one in transfer."""
    body = good(draw(st.sampled_from(MODELS)))
    for spoil in draw(st.lists(st.sampled_from(ACCIDENTS), max_size=3)):
        spoil(draw, body)
    content, headers = body.put_together()
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.binary(max_size=3)) + content[at + draw(st.integers(0, 3)) :]
    return body.model, content, headers


def cut(content: bytes, places: Sequence[int]) -> list[bytes]:
    """Into chunks, of which none is empty, as that would be the last."""
    ends = [*sorted({place % (len(content) + 1) for place in places} - {0}), len(content)]
    return [piece for start, end in zip([0, *ends], ends, strict=False) if (piece := content[start:end])]


def told(answer: Answer) -> tuple[int, bytes]:
    return answer.status, answer.body


@many
@given(bodies(), st.lists(st.integers(0, 2000), max_size=5))
def test_any_body_that_is_nearly_a_request_is_told_the_same_whole_or_in_chunks(
    asker: Asker, body: tuple[str, bytes, list[str]], places: list[int]
):
    """Which is the same by the short way, without ASGI, and by the long one."""
    model, content, headers = body
    path = to_model(model, "infer")
    whole = asker.rest(request(path, content, *headers))
    assert is_sound(whole), whole
    in_pieces = asker.rest(in_chunks(path, cut(content, places), *headers))
    assert is_sound(in_pieces), in_pieces
    if LATE.encode() not in whole.body + in_pieces.body:
        assert told(whole) == told(in_pieces)
