"""Every path of the REST surface, by every verb: what the contract's first section promises."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.contract.line import Answer, Line, in_chunks, request, to_model
from tests.contract.models import ODD_NAME
from tests.contract.tables.bodies import GOOD, HEAD, text
from tests.server_process import Server

Check = Callable[[Any], bool]
JSON, EVENTS = "application/json", "text/event-stream; charset=utf-8"
EMPTY = b""


def has(*keys: str) -> Check:
    return lambda document: set(keys) <= document.keys()


def are(*keys: str) -> Check:
    return lambda document: all(set(keys) <= each.keys() for each in document) and bool(document)


class Path(NamedTuple):
    """One row: its verb, a body that it takes, and what comes back. `kind` is None for an empty answer."""

    path: str
    verb: str
    body: bytes
    came_right: Check
    kind: str | None = JSON


def as_json(document: Any) -> bytes:
    return json.dumps(document).encode()


def of_model(base: str) -> Iterator[Path]:
    """`{MV}` of the contract: below a model as below one of its versions."""
    named = has("id", "model_name", "model_version")
    yield Path(base, "GET", EMPTY, has("name", "versions", "platform", "inputs", "outputs"))
    yield Path(f"{base}/ready", "GET", EMPTY, lambda told: told["ready"] is True and "name" in told)
    yield Path(f"{base}/config", "GET", EMPTY, has("name", "platform", "backend", "max_batch_size", "input"))
    yield Path(f"{base}/stats", "GET", EMPTY, has("model_stats"))
    yield Path(f"{base}/infer", "POST", as_json({**GOOD, "id": "1"}), named)
    yield Path(f"{base}/predict", "POST", as_json({"x": [1, 2, 3, 4]}), lambda told: told["y"][0] in (2, 3))
    asked = as_json({"x": [1, 2, 3, 4], "id": "1"})
    yield Path(f"{base}/generate", "POST", asked, named)
    yield Path(f"{base}/generate_stream", "POST", asked, named, EVENTS)


SURFACE = [
    Path("/", "GET", EMPTY, lambda told: told == {"status": "alive"}),
    Path("/v2", "GET", EMPTY, has("name", "version", "extensions")),
    Path("/v2/health/live", "GET", EMPTY, lambda told: told == {"live": True}),
    Path("/v2/health/ready", "GET", EMPTY, lambda told: told == {"ready": True}),
    Path("/v2/models", "GET", EMPTY, lambda told: "double" in told["models"]),
    Path("/v2/models/stats", "GET", EMPTY, has("model_stats")),
    *of_model(to_model("double")),
    *of_model(to_model("double", "versions", "1")),
    *of_model(to_model(ODD_NAME)),
    *of_model(to_model(ODD_NAME, "versions", "1")),
    Path("/v1/models", "GET", EMPTY, lambda told: "double" in told["models"]),
    Path("/v1/models/double", "GET", EMPTY, lambda told: told == {"name": "double", "ready": True}),
    Path(
        *("/v1/models/double:predict", "POST", as_json({"instances": [[1, 2, 3, 4]]})),
        lambda told: told == {"predictions": [[2, 4, 6, 8]]},
    ),
    Path("/v2/repository/index", "POST", EMPTY, are("name")),
    Path("/v2/repository/index", "POST", as_json({"ready": True}), are("name", "version", "state")),
    Path("/v2/repository/models/double/load", "POST", EMPTY, bool, None),
    Path("/v2/repository/models/nobody/unload", "POST", as_json({"parameters": {}}), bool, None),
    Path("/v2/repository/events", "GET", EMPTY, has("events", "oldest", "last", "missed", "more")),
    Path("/v2/repository/models/double/versions", "GET", EMPTY, has("name", "versions")),
    Path("/openapi.json", "GET", EMPTY, has("openapi", "paths")),
    Path("/docs", "GET", EMPTY, bool, "text/html; charset=utf-8"),
]
POSTS = [row for row in SURFACE if row.verb == "POST"]
NOT_SUPPORTED = [
    "/v2/repository/local/index",
    "/v2/repository/local/models/double/load",
    "/v2/repository/local/models/double/unload",
    "/v1/models/double:explain",
]
WORTH_PACKING = 512
"""Bytes of an answer from which on it is compressed."""
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")


def title(row: Path | str) -> str:
    return row if isinstance(row, str) else f"{row.verb} {row.path}"


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    with Line(server) as line:
        yield line


def came(line: Line, sent: bytes, to: str = "POST") -> Answer:
    line.send(sent)
    return line.answer(to=to)


def is_right(row: Path, answer: Answer) -> bool:
    if answer.status != 200:
        return False
    if row.kind is None:
        return answer.body == EMPTY
    if answer.headers["content-type"] != row.kind:
        return False
    if row.kind == EVENTS:
        return row.came_right(json.loads(answer.body.removeprefix(b"data: ").removesuffix(b"\n\n")))
    return row.came_right(json.loads(answer.body) if row.kind == JSON else answer.body)


@pytest.mark.parametrize("row", SURFACE, ids=title)
def test_the_right_verb_is_answered_and_every_other_told_which_it_is(line: Line, row: Path):
    answer = came(line, request(row.path, row.body, method=row.verb))
    assert is_right(row, answer), answer
    for method in METHODS:
        if method != row.verb:
            answer = came(line, request(row.path, row.body, method=method), method)
            assert (answer.status, answer.headers["allow"]) == (405, row.verb), method
            if method != "HEAD":
                assert answer.error == f"{method} is not allowed on {unquoted(row.path)}; use {row.verb}"
            else:
                assert answer.headers["content-type"] == JSON
                assert answer.body == EMPTY


def unquoted(path: str) -> str:
    return path.replace(to_model(ODD_NAME), f"/v2/models/{ODD_NAME}")


@pytest.mark.parametrize("path", NOT_SUPPORTED)
def test_what_is_understood_and_not_offered_says_so(line: Line, path: str):
    answer = came(line, request(path, EMPTY))
    assert answer.status == 501
    assert "not supported" in answer.error or "not offered" in answer.error


@pytest.mark.parametrize("row", POSTS, ids=title)
def test_every_body_may_be_sent_whole_or_in_chunks(line: Line, row: Path):
    for size in (1, 7, 1000):
        chunks = [row.body[at : at + size] for at in range(0, len(row.body), size)]
        assert is_right(row, came(line, in_chunks(row.path, chunks)))


@pytest.mark.parametrize("row", POSTS, ids=title)
def test_every_body_may_be_compressed_but_that_of_generate(line: Line, row: Path):
    for encoding, packed in (
        ("gzip", gzip.compress(row.body)),
        ("GZIP", gzip.compress(row.body)),
        ("deflate", zlib.compress(row.body)),
    ):
        answer = came(line, request(row.path, packed, f"Content-Encoding: {encoding}"))
        if "/generate" in row.path:
            assert answer.status == 400
            assert answer.error == "Unsupported content-encoding, only 'identity' is supported."
        else:
            assert is_right(row, answer), answer
    assert is_right(row, came(line, request(row.path, row.body, "Content-Encoding: identity")))
    for encoding in ("br", "zstd", "compress", "gzip, deflate"):
        answer = came(line, request(row.path, row.body, f"Content-Encoding: {encoding}"))
        assert answer.status == 400
        assert "identity" in answer.error


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_the_length_of_the_json_is_that_before_compression(
    line: Line, encoding: str, pack: Callable[[bytes], bytes]
):
    path, body = to_model("double", "infer"), pack(HEAD + bytes(16))
    headers = (f"Content-Encoding: {encoding}", f"Inference-Header-Content-Length: {len(HEAD)}")
    for sent in (request(path, body, *headers), in_chunks(path, [body], *headers)):
        assert b'"data":[0.0,0.0,0.0,0.0]' in came(line, sent).body


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("gzip;q=0.1, deflate;q=0.9", "deflate"),
        ("*", "gzip"),
        ("gzip;q=0", None),
        ("identity", None),
        ("br", None),
    ],
)
def test_a_long_answer_has_the_encoding_that_its_caller_likes_best(
    line: Line, accepted: str, encoding: str | None
):
    rows = [[value / 7 + row / 3 for value in range(4)] for row in range(8)]
    tensor = {"name": "x", "shape": [8, 4], "datatype": "FP32", "data": rows}
    asked = {
        to_model("double", "infer"): {"inputs": [tensor], "id": "long " * 100},
        to_model("double", "predict"): [{"x": row} for row in rows],
        "/v1/models/double:predict": {"instances": rows},
    }
    unpack = {None: bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}
    for path, document in asked.items():
        plain = came(line, request(path, text(document)))
        answer = came(line, request(path, text(document), f"Accept-Encoding: {accepted}"))
        found = answer.headers.get("content-encoding")
        assert found == (encoding if len(plain.body) >= WORTH_PACKING else None)
        assert unpack[found](answer.body) == plain.body


def test_a_short_answer_is_packed_only_for_who_refuses_it_as_it_is(line: Line):
    for accepted, encoding in (("gzip", None), ("gzip, identity;q=0", "gzip"), ("gzip;q=1, *;q=0", "gzip")):
        answer = came(line, request(to_model("double", "infer"), text(), f"Accept-Encoding: {accepted}"))
        assert answer.headers.get("content-encoding") == encoding
        body = gzip.decompress(answer.body) if encoding else answer.body
        assert json.loads(body)["outputs"][0]["data"] == [2, 4, 6, 8]


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_is_not_finite_is_read_everywhere_and_written_as_clients_of_each_protocol_read_it(
    line: Line, literal: bytes
):
    row = b"[" + literal + b", 2, 3, 4]"
    infer = came(line, request(to_model("double", "infer"), text().replace(b"[1, 2, 3, 4]", row)))
    assert b'"data":[%b,4.0,6.0,8.0]' % literal in infer.body
    for verb in ("generate", "generate_stream"):
        generate = came(line, request(to_model("double", verb), b'{"x": %b}' % row))
        assert b'"y":[%b,4.0,6.0,8.0]' % literal in generate.body
    assert came(line, request(to_model("double", "predict"), b'{"x": %b}' % row)).body == (
        b'{"y":[null,4.0,6.0,8.0]}'
    )
    v1 = came(line, request("/v1/models/double:predict", b'{"instances": [%b]}' % row))
    assert v1.body == b'{"predictions":[[null,4.0,6.0,8.0]]}'
