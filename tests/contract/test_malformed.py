"""Whatever is wrong with a request, it gets its documented code and a sentence, and harms nobody."""

import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.contract.conftest import OPTIONS
from tests.contract.line import PATIENCE_S, in_chunks, request, to_model
from tests.contract.models import BROKEN, LARGEST, ODD_NAME
from tests.contract.question import BINARY, FORMS, JSON, RAW, Question, Tensor, filled
from tests.contract.rows import INVALID, NOT_FOUND, Asker, Call, Codes, Rest
from tests.contract.tables import bodies, garbage, messages, objects, orders, paths, questions, settings
from tests.server_process import Server, running

TABLES: dict[str, list[Rest | Call]] = {
    "questions": list(questions.rows()),
    "bodies": list(bodies.rows()),
    "paths": list(paths.rows()),
    "objects": list(objects.rows()),
    "orders": list(orders.rows()),
    "settings": list(settings.rows()),
    "messages": list(messages.rows()),
    "garbage": list(garbage.rows()),
}
ROWS = [row for rows in TABLES.values() for row in rows]

MOST_GROWTH_BYTES = 16 * 2**20
"""Of the server's memory in `ROUNDS`, at most; each round sends it nearly as much, in some 1,250 requests.

More than nothing, because the collector comes seldom (`server.app.process`): the circles that closed
connections and grpcio's calls leave behind wait for it, some 20,000 objects of them, and then go.
"""
ROUNDS = 8
SETTLED_AFTER = 50
"""Rounds after which the collector has found its pace, and nothing grows any more."""


@pytest.fixture(scope="module")
def on_grpcio(contract_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same server with the other of its gRPC fronts."""
    log = tmp_path_factory.mktemp("grpcio") / "log"
    with running(log, contract_repository, options=[*OPTIONS, "--grpc-front=grpcio"]) as server:
        assert server.client.post(f"/v2/repository/models/{BROKEN}/load").status_code == 400
        yield server


def answers_a_good_request(asker: Asker) -> bool:
    """Over HTTP and over gRPC."""
    question = Question("double", [filled("x", "FP32", 2, 4)])
    over_http = asker.rest(question.over_http(JSON))
    over_grpc = asker.call("ModelInfer", question.over_grpc(RAW).SerializeToString())
    twos = b"[2.0,2.0,2.0,2.0,2.0,2.0,2.0,2.0]"
    return over_http.status == 200 and twos in over_http.body and b"\0\0\0\x40" * 8 in over_grpc.answer


MADE_UP = [(1024, NOT_FOUND, "is not found"), (60_000, INVALID, "--max-name-length")]


def misfits(asker: Asker, rows: list[Rest | Call]) -> list[str]:
    return [misfit for row in rows if (misfit := asker.put(row))]


@pytest.mark.parametrize("table", TABLES)
def test_each_gets_its_code_and_its_sentence(asker: Asker, table: str):
    assert misfits(asker, TABLES[table]) == []
    assert answers_a_good_request(asker)


def test_each_gets_them_from_either_grpc_front(on_grpcio: Server):
    asker = Asker(on_grpcio)
    assert misfits(asker, [row for row in ROWS if isinstance(row, Call)]) == []
    assert answers_a_good_request(asker)
    asker.close()
    assert "Traceback" not in on_grpcio.log


def test_they_are_at_least_two_hundred_by_either_protocol():
    for kind in (Rest, Call):
        different = {(row.sent, row.method) for row in ROWS if isinstance(row, kind)}
        assert len(different) >= 200


def test_every_form_of_a_good_question_is_answered(asker: Asker):
    """What the tables vary is right before it is varied."""
    for form in FORMS:
        for question in (
            Question("double", [filled("x", "FP32", 8, 4)]),
            Question("double", [filled("x", "FP32", 1, 4)], [("y", {"classification": 2})]),
            Question("pair", [filled("a", "INT32", 1, 1), filled("b", "FP32", 1, 2)]),
            Question("echo", [filled("said", "BYTES", 1, 1)], version="1", parameters={"timeout": 5_000_000}),
            Question("whole", [filled("x", "FP32", 2, 2)]),
            Question("fragile", [filled("place", "INT64", 1, 1)]),
            Question(ODD_NAME, [filled("x", "FP32", 1, 4)]),
        ):
            if form in ("JSON", "binary"):
                assert asker.rest(question.over_http(form)).status == 200, (form, question)
            else:
                sent = question.over_grpc(form).SerializeToString()
                assert asker.call("ModelInfer", sent).answer, (form, question)


def test_after_all_of_them_the_server_is_as_it_was(server: Server, asker: Asker):
    for row in ROWS:
        asker.put(row)
    assert server.ready()
    assert answers_a_good_request(asker)
    assert asker.rest(request(to_model(ODD_NAME), method="GET"), "GET").status == 200
    assert "request_crashed" not in server.log
    assert "Traceback" not in server.log


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes.fromhex("000000040000000000")
NOT_GRPC = {
    "HTTP/1.1": request("/v2", method="GET"),
    "zeros": bytes(1000),
    "a handshake of TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "half a preface": PREFACE[:10],
    "frames that there are not": PREFACE + b"\xff" * 1000,
    "a frame too large": PREFACE + SETTINGS + bytes.fromhex("ffffff000000000001"),
    "headers that are none": PREFACE + SETTINGS + bytes.fromhex("000004010500000001ffffffff"),
    "half a frame": PREFACE + SETTINGS + bytes.fromhex("00ffff000100000001") + bytes(10),
}


@pytest.mark.parametrize("sent", NOT_GRPC)
@pytest.mark.parametrize("front", ["server", "on_grpcio"])
def test_what_is_no_grpc_on_its_port_harms_nobody(request: pytest.FixtureRequest, front: str, sent: str):
    server: Server = request.getfixturevalue(front)
    asker = Asker(server)
    assert answers_a_good_request(asker)
    host, _, port = server.grpc.partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(NOT_GRPC[sent])
        assert answers_a_good_request(asker)
    assert answers_a_good_request(asker)
    asker.close()


def test_its_memory_stays_flat(server: Server, asker: Asker):
    grown, opened = growth(server, asker, warm_up=4, rounds=ROUNDS)
    assert grown < MOST_GROWTH_BYTES
    assert opened <= 3


PNG = "Content-Type: image/png"
NOISE = "no picture" * (LARGEST // 11)
WIDE = Question("double", [filled("x", "FP32", LARGEST // 32, 4)])
FILE = Question("digits_onnx", [Tensor("IMAGE", "BYTES", [1, 1], [NOISE])])
NUMBERS = b"{%%b: [%b]}" % b",".join([b"1"] * (LARGEST // 4))
TOO_MANY, NO_IMAGE = "batch-size must be <= 8", "is not a readable PNG or JPEG file"
LARGE: list[Rest | Call] = [
    Rest("a shape, at once", WIDE.over_http(BINARY), 400, TOO_MANY),
    Rest("a shape, in chunks", in_chunks(WIDE.path(), [WIDE.in_json()]), 400, TOO_MANY),
    Rest("a file, at once", FILE.over_http(BINARY), 400, NO_IMAGE),
    Rest("a file, in chunks", in_chunks(FILE.path(), [FILE.in_json()]), 400, NO_IMAGE),
    Rest("a plain object", request(to_model("double", "predict"), WIDE.in_json()), 400, "is no field of"),
    Rest("a prompt", request(to_model("double", "generate"), NUMBERS % b'"x"'), 400, TOO_MANY),
    Rest("instances", request("/v1/models/double:predict", NUMBERS % b'"instances"'), 400, "row 0: "),
    Rest("a plain file", request(to_model("digits_onnx", "predict"), NOISE.encode(), PNG), 400, NO_IMAGE),
    Call("a shape", "ModelInfer", WIDE.over_grpc(RAW).SerializeToString(), INVALID.grpc, TOO_MANY),
    Call("a file", "ModelInfer", FILE.over_grpc(RAW).SerializeToString(), INVALID.grpc, NO_IMAGE),
]


@pytest.mark.parametrize("row", LARGE, ids=lambda row: f"{type(row).__name__}, {row.title}")
@pytest.mark.parametrize("front", ["server", "on_grpcio"])
def test_a_large_request_that_is_refused_leaves_nothing_behind(
    request: pytest.FixtureRequest, front: str, row: Rest | Call
):
    """Nothing that waits for the collector either: it comes seldom, and such requests may come often."""
    server: Server = request.getfixturevalue(front)
    asker = Asker(server)
    assert misfits(asker, [row] * 5) == []
    before = server.rss_bytes()
    assert misfits(asker, [row] * 40) == []
    assert server.rss_bytes() - before < 12 * LARGEST
    asker.close()


@pytest.mark.parametrize(("size", "codes", "says"), MADE_UP)
def test_names_that_are_made_up_leave_nothing_behind(
    server: Server, asker: Asker, size: int, codes: Codes, says: str
):
    """Neither the paths and models that the doors remember, nor those that the log does, without end."""

    def made_up(number: int, size: int) -> list[Rest | Call]:
        question = Question(f"{number}".zfill(size), [filled("x", "FP32", 1, 4)])
        over_grpc = question.over_grpc(RAW).SerializeToString()
        return [
            Rest("a path", question.over_http(JSON), codes.http, says),
            Call("a model", "ModelInfer", over_grpc, codes.grpc, says),
        ]

    assert misfits(asker, made_up(0, size)) == []
    before = server.rss_bytes()
    for number in range(1, 500):
        assert misfits(asker, made_up(number, size)) == []
    assert server.rss_bytes() - before < 12 * LARGEST


@pytest.mark.slow
def test_its_memory_stays_flat_to_a_hundred_bytes_a_request(server: Server, asker: Asker):
    grown, opened = growth(server, asker, warm_up=SETTLED_AFTER, rounds=SETTLED_AFTER)
    assert grown < 100 * SETTLED_AFTER * len(ROWS)
    assert opened <= 3


def growth(server: Server, asker: Asker, *, warm_up: int, rounds: int) -> tuple[int, int]:
    """By how many bytes and open files the server grows while it is asked all of it, again and again."""
    process = psutil.Process(server.pid)
    for _ in range(warm_up):
        misfits(asker, ROWS)
    bytes_before, files_before = server.rss_bytes(), process.num_fds()
    for _ in range(rounds):
        misfits(asker, ROWS)
    return server.rss_bytes() - bytes_before, process.num_fds() - files_before
