"""The short way answers as the long way does, byte for byte, and stands what connections do to it."""

import json
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.server_process import SAMPLES, Server, running

FLOWER = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
TENSOR = {"name": "measurements", "shape": [1, 4], "datatype": "FP32"}
IN_JSON = json.dumps({"inputs": [{**TENSOR, "data": FLOWER.ravel().tolist()}]}).encode()
HEAD = json.dumps({"inputs": [{**TENSOR, "parameters": {"binary_data_size": 16}}]}).encode()
OPTIONS = ["--http-keep-alive-secs=2", "--http-max-header-bytes=8192"]
IRIS = "/v2/models/iris/infer"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("short") / "log"
    with running(log, SAMPLES, options=OPTIONS) as server:
        yield server


def connect(server: Server) -> socket.socket:
    host, _, port = server.http.partition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def request(path: str, body: bytes, *headers: str, method: str = "POST", chunked: bool = False) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    else:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer(connection: socket.socket) -> bytes:
    """One whole answer, head and body."""
    text = b""
    while b"\r\n\r\n" not in text:
        received = connection.recv(65_536)
        assert received, text
        text += received
    head, _, body = text.partition(b"\r\n\r\n")
    size = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
    )
    while len(body) < size:
        received = connection.recv(65_536)
        assert received, text
        body += received
    return head + b"\r\n\r\n" + body


def ask(server: Server, text: bytes) -> bytes:
    with connect(server) as connection:
        connection.sendall(text)
        return answer(connection)


BOTH_WAYS = {
    "json": (IRIS, IN_JSON, ()),
    "with a version": ("/v2/models/iris/versions/1/infer", IN_JSON, ()),
    "binary in": (IRIS, HEAD + FLOWER.tobytes(), (f"Inference-Header-Content-Length: {len(HEAD)}",)),
    "binary out": (
        IRIS,
        json.dumps({**json.loads(IN_JSON), "parameters": {"binary_data_output": True}}).encode(),
        (),
    ),
    "an id and one output": (
        IRIS,
        json.dumps({**json.loads(IN_JSON), "id": 'a"b', "outputs": [{"name": "label"}]}).encode(),
        (),
    ),
    "a timeout": (IRIS, IN_JSON, ("tercet-timeout-ms: 5000",)),
    "close": (IRIS, IN_JSON, ("Connection: close",)),
    "gzip accepted": (
        IRIS,
        json.dumps(
            {"inputs": [{**TENSOR, "shape": [4, 4], "data": np.tile(FLOWER, (4, 1)).ravel().tolist()}]}
        ).encode(),
        ("Accept-Encoding: gzip",),
    ),
    "not JSON": (IRIS, b"{", ()),
    "an empty body": (IRIS, b"", ()),
    "a wrong shape": (IRIS, IN_JSON.replace(b"[1, 4]", b"[2, 2]"), ()),
    "an unknown model": ("/v2/models/nobody/infer", IN_JSON, ()),
    "an unknown version": ("/v2/models/iris/versions/7/infer", IN_JSON, ()),
    "a version that is no number": ("/v2/models/iris/versions/x/infer", IN_JSON, ()),
    "a bad header length": (IRIS, IN_JSON, ("Inference-Header-Content-Length: x",)),
    "a raw request": (IRIS, FLOWER.tobytes(), ("Inference-Header-Content-Length: 0",)),
    "pre-processing": (
        "/v2/models/digits_onnx/infer",
        (SAMPLES / "digits/8.png").read_bytes(),
        ("Inference-Header-Content-Length: 0",),
    ),
}


@pytest.mark.parametrize("case", BOTH_WAYS)
def test_the_same_request_gets_the_same_bytes_by_either_way(server, case):
    path, body, headers = BOTH_WAYS[case]
    by_short = ask(server, request(path, body, *headers))
    by_long = ask(server, request(path, body, *headers, chunked=True))
    assert by_short == by_long
    assert by_short.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("case", BOTH_WAYS)
def test_a_request_that_came_before_gets_the_same_bytes_again(server, case):
    path, body, headers = BOTH_WAYS[case]
    answers = [ask(server, request(path, body, *headers)) for _ in range(3)]
    assert answers[1:] == [ask(server, request(path, body, *headers, chunked=True))] * 2


def test_a_head_that_came_before_is_known_wherever_its_bytes_come_to_lie(server):
    """In one read with its body, cut anywhere, before another request and behind one."""
    text = request(IRIS, IN_JSON)
    good = ask(server, text)
    other = request(IRIS, b"{")
    with connect(server) as connection:
        for cut in range(1, len(text), 7):
            connection.sendall(text)
            assert answer(connection) == good
            connection.sendall(text[:cut])
            time.sleep(0.005)
            connection.sendall(text[cut:])
            assert answer(connection) == good
        connection.sendall(text + other + text + text)
        received = b""
        while received.count(b"HTTP/1.1") < 4 or not received.endswith(good):
            received += connection.recv(65_536)
        assert received.startswith(good + b"HTTP/1.1 400")
        assert received.endswith(b"}" + good + good)


def test_a_known_head_with_a_body_of_another_length_is_read_as_it_stands(server):
    text = request(IRIS, IN_JSON)
    head, _, body = text.partition(b"\r\n\r\n")
    with connect(server) as connection:
        for _ in range(2):
            connection.sendall(text)
            good = answer(connection)
        connection.sendall(head + b"\r\n\r\n" + body[:-3])
        time.sleep(0.05)
        connection.sendall(body[-3:] + b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while not received.endswith(b'{"live":true}'):
            received += connection.recv(65_536)
        assert received.startswith(good + b"HTTP/1.1 200")


def test_a_connection_asks_as_often_as_it_likes(server):
    with connect(server) as connection:
        answers = set()
        for _ in range(50):
            connection.sendall(request(IRIS, IN_JSON))
            answers.add(answer(connection))
    assert len(answers) == 1


def test_pipelined_requests_are_answered_in_their_order(server):
    paths = [IRIS, "/v2", IRIS, "/v2/models/iris", IRIS, "/v2/health/live", IRIS]
    texts = [
        request(path, json.dumps({**json.loads(IN_JSON), "id": str(number)}).encode())
        if path == IRIS
        else request(path, b"", method="GET")
        for number, path in enumerate(paths)
    ]
    alone = [ask(server, text).partition(b"\r\n\r\n")[2] for text in texts]
    with connect(server) as connection:
        connection.sendall(b"".join(texts))
        received = b""
        while not all(body in received for body in alone):
            received += connection.recv(65_536)
    places = [received.index(body) for body in alone]
    assert places == sorted(places)


def test_a_request_that_comes_byte_by_byte_is_answered(server):
    text = request(IRIS, IN_JSON)
    with connect(server) as connection:
        for position in range(len(text)):
            connection.sendall(text[position : position + 1])
        assert answer(connection).startswith(b"HTTP/1.1 200")


def test_a_connection_that_idles_is_closed_and_one_that_works_is_not(server):
    with connect(server) as connection:
        for _ in range(6):
            connection.sendall(request(IRIS, IN_JSON))
            assert answer(connection).startswith(b"HTTP/1.1 200")
            time.sleep(0.5)  # longer in all than the two seconds that it may idle
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert 1.0 < time.monotonic() - began < 10.0


def test_half_a_request_does_not_hold_its_connection_for_ever(server):
    with connect(server) as connection:
        connection.sendall(request(IRIS, IN_JSON)[:-5])
        assert connection.recv(1) == b""


@pytest.mark.parametrize("cut", [9000, None], ids=["before its end", "whole"])
def test_a_head_over_its_limit_is_refused_in_a_sentence(server, cut):
    long_head = [f"x-{number}: {'y' * 60}" for number in range(150)]
    with connect(server) as connection:
        connection.sendall(request(IRIS, IN_JSON, *long_head)[:cut])
        text = connection.recv(65_536)
    assert text.startswith(b"HTTP/1.1 431")
    assert b"--http-max-header-bytes" in text


def test_what_is_not_http_is_refused_in_the_one_shape(server):
    with connect(server) as connection:
        connection.sendall(b"this is not HTTP\r\n\r\n")
        text = connection.recv(65_536)
    assert text.startswith(b"HTTP/1.1 400")
    assert "error" in json.loads(text.partition(b"\r\n\r\n")[2])


def test_clients_that_leave_do_not_disturb_those_who_stay(server):
    stop = threading.Event()

    def leave_again_and_again() -> None:
        while not stop.is_set():
            with connect(server) as connection:
                connection.sendall(request(IRIS, IN_JSON))

    leavers = [threading.Thread(target=leave_again_and_again) for _ in range(3)]
    for leaver in leavers:
        leaver.start()
    try:
        with connect(server) as connection:
            for _ in range(300):
                connection.sendall(request(IRIS, IN_JSON))
                assert answer(connection).startswith(b"HTTP/1.1 200")
    finally:
        stop.set()
        for leaver in leavers:
            leaver.join()
    assert server.ready()


def test_a_large_answer_reaches_a_client_that_reads_slowly(server):
    rows = 4
    body = json.dumps(
        {"inputs": [{**TENSOR, "shape": [rows, 4], "data": np.tile(FLOWER, (rows, 1)).ravel().tolist()}]}
    ).encode()
    with connect(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        for _ in range(200):
            connection.sendall(request(IRIS, body))
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 200:
            part = connection.recv(512)
            assert part
            received += part


INHERITED = (
    "_should_upgrade",
    "_unset_keepalive_if_required",
    "connection_lost",
    "connection_made",
    "data_received",
    "on_body",
    "on_headers_complete",
    "on_message_begin",
    "on_message_complete",
    "on_response_complete",
    "pause_writing",
    "resume_writing",
    "send_400_response",
    "shutdown",
)


def test_uvicorn_still_has_the_names_that_the_short_way_inherits():
    missing = [name for name in INHERITED if not callable(getattr(HttpToolsProtocol, name, None))]
    assert not missing


def test_the_log_of_all_this_has_no_traceback(server):
    assert "Traceback" not in server.log
