"""Bodies that are wrong as only HTTP lets them be: in their JSON, lengths, encoding or size."""

import gzip
import json
import zlib
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from tests.contract.line import in_chunks, request, to_model
from tests.contract.models import LARGEST
from tests.contract.rows import Rest

INFER = to_model("double", "infer")
GOOD: dict[str, Any] = {
    "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}],
    "outputs": [{"name": "y"}],
}
TOO_LARGE = f"the request body is larger than {LARGEST} bytes, the limit that --http-max-input-size sets"


def text(document: Any = GOOD) -> bytes:
    return json.dumps(document).encode()


def but(path: tuple[str | int, ...], value: Any) -> bytes:
    """The good request with another value at one place."""
    document = deepcopy(GOOD)
    holder: Any = document
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return text(document)


def data(written: bytes) -> bytes:
    """The good request with this for its data."""
    return text().replace(b"[1, 2, 3, 4]", written)


NOT_JSON: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "a word": b"hello",
    "an open brace": b"{",
    "cut off": text()[:-1],
    "cut off in a text": text()[:16],
    "another document behind it": text() * 2,
    "a character behind it": text() + b"x",
    "a zero behind it": text() + b"\0",
    "a comma too many": b'{"inputs": [],}',
    "single quotes": b"{'inputs': []}",
    "a comment": b'{"inputs": [] /* none */}',
    "keys without quotes": b"{inputs: []}",
    "a byte order mark": b"\xef\xbb\xbf" + text(),
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "Latin-1": '{"id": "größe", "inputs": []}'.encode("latin-1"),
    "half of a character": b'{"id": "\xc3", "inputs": []}',
    "half a surrogate pair": b'{"id": "\\ud800", "inputs": []}',
    "half a surrogate pair, and NaN": b'{"id": "\\ud800", "inputs": [NaN]}',
    "a line break in a text": b'{"id": "a\nb", "inputs": []}',
    "an escape that there is not": b'{"id": "\\x41", "inputs": []}',
    "a leading zero": data(b"[01, 2, 3, 4]"),
    "a leading plus": data(b"[+1, 2, 3, 4]"),
    "a hexadecimal number": data(b"[0x1, 2, 3, 4]"),
    "a number beyond floats": data(b"[1e999, 2, 3, 4]"),
    "nan in lower case": data(b"[nan, 2, 3, 4]"),
    "lists too deep": b"[" * 5000 + b"]" * 5000,
    "lists far too deep": b"[" * 500_000,
    "objects too deep": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "a form": b"inputs=1&outputs=2",
    "XML": b"<inputs/>",
    "a message for gRPC": b"\n\x06double\x1a\x01x",
    "a tensor": bytes(16),
}

NOT_A_REQUEST: list[tuple[str, bytes, str]] = [
    ("a list", b"[]", "the request must be a JSON object, but is a list"),
    ("null", b"null", "the request must be a JSON object, but is null"),
    ("a number", b"7", "the request must be a JSON object, but is a whole number"),
    ("a text", b'"inputs"', "the request must be a JSON object, but is a string"),
    ("NaN", b"NaN", "the request must be a JSON object, but is a float"),
    ("an empty object", b"{}", "the request has no 'inputs'"),
    ("other keys", b'{"instances": [[1, 2, 3, 4]]}', "the request has no 'inputs'"),
    ("lists too deep, and NaN", b"[" * 5000 + b"NaN" + b"]" * 5000, "nested too deeply"),
    ("NaN for a size", text().replace(b"[1, 4]", b"[NaN, 4]"), "'shape' of input 'x' for model 'double'"),
    ("Infinity for a time", but(("parameters",), {"timeout": float("inf")}), "parameter 'timeout'"),
    ("a number too large for FP32", data(b"[1e39, 2, 3, 4]"), "holds a number too large for it"),
    ("five thousand digits", data(b"[" + b"9" * 5000 + b", 2, 3, 4]"), "the request is not JSON"),
    ("five thousand digits, and NaN", data(b"[NaN, " + b"9" * 5000 + b", 3, 4]"), "the request is not JSON"),
    ("data of several depths", data(b"[1, [2], [[3]], 4]"), "input 'x' for model 'double'"),
    ("data of ragged rows", data(b"[[1, 2], [3]]"), "unexpected number of elements for input 'x'"),
    ("data of 400 dimensions", data(b"[" * 400 + b"]" * 400), "unexpected number of elements"),
    ("data of 900 dimensions", data(b"[" * 900 + b"]" * 900), "that --http-max-json-depth allows"),
    ("data with a null", data(b"[1, null, 3, 4]"), "element 1 of its data is null"),
    ("data with a text", data(b'[1, "2", 3, 4]'), "element 1 of its data is a string: '2'"),
    ("data with a truth", data(b"[1, true, 3, 4]"), "element 1 of its data is a bool"),
    ("data with an object", data(b'[1, {"b64": "Mg=="}, 3, 4]'), "element 1 of its data is an object"),
]

WRONG_KINDS: list[tuple[tuple[str | int, ...], list[Any], str]] = [
    (("inputs",), [{}, "x", 5, True], "'inputs' must be a list"),
    (("inputs", 0), [None, 5, "x", [], True], "each input for model 'double' must be an object"),
    (("inputs", 0, "name"), [None, 5, True, ["x"], {}], "an input for model 'double' has no 'name'"),
    (("inputs", 0, "datatype"), [5, True, ["FP32"], {}], "input 'x' for model 'double' has datatype"),
    (("inputs", 0, "datatype"), [None], "input 'x' for model 'double' has no 'datatype'"),
    (
        ("inputs", 0, "shape"),
        [4, "[1,4]", {}, True],
        "'shape' of input 'x' for model 'double' must be a list",
    ),
    (("inputs", 0, "shape"), [None], "input 'x' for model 'double' has no 'shape'"),
    (("inputs", 0, "shape", 0), [1.0, "1", True, None, [1], -1, 2**70], "'shape' of input 'x'"),
    (("inputs", 0, "data"), [5, "1234", {}, True], "'data' of input 'x' for model 'double' must be a list"),
    (("inputs", 0, "data"), [None], "input 'x' for model 'double' has no data"),
    (("inputs", 0, "parameters"), [5, "x", [], True], "'parameters' of input 'x' for model 'double'"),
    (("inputs", 0, "parameters"), [{"binary_data_size": 16}], "has both 'data' and 'binary_data_size'"),
    (("outputs",), [{}, "y", 5, True], "'outputs' must be a list"),
    (("outputs", 0), [None, 5, "y", []], "each output for model 'double' must be an object"),
    (("outputs", 0, "name"), [None, 5, ["y"], {}], "an output for model 'double' has no 'name'"),
    (("outputs", 0, "parameters"), [5, "y", []], "'parameters' of output 'y' for model 'double'"),
    (("outputs", 0, "parameters"), [{"binary_data": each} for each in (1, "yes", None)], "'binary_data'"),
    (("parameters",), [5, "x", []], "'parameters' of the request must be an object"),
    (("parameters",), [{"mine": each} for each in (None, [1], {})], "parameter 'mine' must be a string"),
    (("id",), [5, None, True, [], {}], "'id' must be a string"),
]


def tensor(**parameters: Any) -> bytes:
    """The head of a request whose input is in the bytes behind it."""
    return text({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": parameters}]})


HEAD, TENSOR = tensor(binary_data_size=16), bytes(16)
LENGTH = str(len(HEAD))

LENGTHS: list[tuple[str, str, bytes, str]] = [
    *(
        (f"the length {length!r}", length, HEAD + TENSOR, "must be a whole number from 0 on")
        for length in ("-1", "+5", "5.0", "1e3", "0x10", "five", "", "1,2", "1 2", "٣", "9" * 19)
    ),
    ("one byte beyond the body", str(len(HEAD) + 17), HEAD + TENSOR, "but the body has"),
    ("far beyond the body", "9" * 18, HEAD + TENSOR, "is 999999999999999999, but the body has"),
    ("a byte too few", str(len(HEAD) - 1), HEAD + TENSOR, "the request is not JSON"),
    ("a byte too many", str(len(HEAD) + 1), HEAD + TENSOR, "the request is not JSON"),
    ("no tensor", LENGTH, HEAD, "has 'binary_data_size' 16, but only 0 bytes of the body are left"),
    ("a tensor cut off", LENGTH, HEAD + TENSOR[:-1], "but only 15 bytes of the body are left"),
    ("a tensor too long", LENGTH, HEAD + TENSOR + b"x", "1 bytes after the last input"),
    ("bytes that no input asked for", str(len(text())), text() + TENSOR, "16 bytes after the last input"),
    *(
        (f"a tensor of {size!r} bytes", str(len(head)), head + TENSOR, "'binary_data_size'")
        for size in (-16, 16.0, "16", True, None, 2**64, 17)
        for head in [tensor(binary_data_size=size)]
    ),
    ("a raw request, too short", "0", bytes(15), "input byte size mismatch for input 'x' for model 'double'"),
    ("a raw request, too long", "0", bytes(32), "input byte size mismatch for input 'x'"),
    ("a raw request of nothing", "0", b"", "input byte size mismatch for input 'x'"),
]


def squeezed(body: bytes, bits: int = 31) -> bytes:
    machine = zlib.compressobj(9, zlib.DEFLATED, bits)
    return machine.compress(body) + machine.flush()


BOMB = squeezed(bytes(64 * LARGEST))

ENCODINGS: list[tuple[str, str, bytes, int, str]] = [
    ("one that there is not", "br", text(), 400, "Content-Encoding 'br' is not supported"),
    ("two", "gzip, gzip", gzip.compress(text()), 400, "Content-Encoding 'gzip, gzip' is not supported"),
    ("an empty one", "", text(), 400, "Content-Encoding '' is not supported"),
    ("gzip of nothing", "gzip", b"", 400, "the body ends in the middle of its gzip data"),
    ("gzip that is none", "gzip", text(), 400, "the body is not gzip, as its Content-Encoding says"),
    ("gzip for deflate", "deflate", gzip.compress(text()), 400, "the body is not deflate"),
    ("deflate for gzip", "gzip", squeezed(text(), 15), 400, "the body is not gzip"),
    ("deflate without its head", "deflate", squeezed(text(), -15), 400, "the body is not deflate"),
    ("gzip cut off", "gzip", gzip.compress(text())[:-9], 400, "in the middle of its gzip data"),
    ("gzip and more", "gzip", gzip.compress(text()) + b"more", 400, "4 bytes follow the body's gzip data"),
    ("gzip with a wrong sum", "gzip", gzip.compress(text())[:-8] + bytes(8), 400, "the body is not gzip"),
    ("gzip of what is no JSON", "gzip", gzip.compress(b"{"), 400, "the request is not JSON"),
    ("a bomb of gzip", "gzip", BOMB, 413, TOO_LARGE),
    ("a bomb of deflate", "deflate", squeezed(bytes(64 * LARGEST), 15), 413, TOO_LARGE),
]

TIMES = ("0", "-1", "+1", "1.5", "soon", "", "9" * 11, "9" * 5000, "٣")


def rows() -> Iterator[Rest]:
    for title, body in NOT_JSON.items():
        yield Rest(f"not JSON: {title}", request(INFER, body), 400, "the request is not JSON")
    for title, body, says in NOT_A_REQUEST:
        yield Rest(f"not a request: {title}", request(INFER, body), 400, says)
    for path, values, says in WRONG_KINDS:
        for value in values:
            yield Rest(f"{path} is {value!r}", request(INFER, but(path, value)), 400, says)
    for title, length, body, says in LENGTHS:
        sent = request(INFER, body, f"Inference-Header-Content-Length: {length}")
        yield Rest(f"length: {title}", sent, 400, says)
    yield Rest(
        "length: a raw request to a model with two inputs",
        request(to_model("pair", "infer"), bytes(12), "Inference-Header-Content-Length: 0"),
        400,
        "a raw request needs a model with one input, but 'pair' has 2",
    )
    for title, encoding, body, status, says in ENCODINGS:
        sent = request(INFER, body, f"Content-Encoding: {encoding}")
        yield Rest(f"encoding: {title}", sent, status, says)
    yield from _too_large()
    for time in TIMES:
        sent = request(INFER, text(), f"Tercet-Timeout-Ms: {time}")
        yield Rest(f"time: {time:.20}", sent, 400, "the header tercet-timeout-ms must be a whole number")


def _too_large() -> Iterator[Rest]:
    body = bytes(LARGEST + 1)
    paths = {
        "an inference": INFER,
        "a prediction": to_model("double", "predict"),
        "a prediction by V1": "/v1/models/double:predict",
        "an index": "/v2/repository/index",
        "a load": "/v2/repository/models/double/load",
        "an unload": "/v2/repository/models/double/unload",
    }
    generate = {verb: to_model("double", verb) for verb in ("generate", "generate_stream")}
    for title, path in {**paths, **generate}.items():
        yield Rest(f"size: {title}, announced", request(path, body), 413, TOO_LARGE)
        chunks = [body[: 2**16]] * (LARGEST // 2**16 + 1)
        yield Rest(f"size: {title}, in chunks", in_chunks(path, chunks), 413, TOO_LARGE)
        sent = request(path, BOMB, "Content-Encoding: gzip")
        if title in generate:
            yield Rest(f"size: {title}, as a bomb", sent, 400, "only 'identity' is supported")
        else:
            yield Rest(f"size: {title}, as a bomb", sent, 413, TOO_LARGE)
