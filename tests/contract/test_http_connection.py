"""HTTP/1.1 as connections carry it: kept, pipelined, chunked, cut off, upgraded and closed."""

import json
from collections.abc import Iterator

import pytest

from protos import inference_pb2 as pb
from tests.contract.line import Answer, Closed, Line, in_chunks, request, to_model
from tests.contract.models import LARGEST, ODD_NAME
from tests.contract.question import RAW, Question, filled
from tests.contract.rows import Asker
from tests.contract.tables.bodies import HEAD, text
from tests.server_process import Server

INFER = to_model("double", "infer")
PREDICT = to_model("double", "predict")
TWICE = b'"data":[2.0,4.0,6.0,8.0]'
GOOD = request(INFER, text())
META = request("/v2", method="GET")
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
"""What Java's HTTP client sends with the first request of a connection."""
WEBSOCKET = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==",
)


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    with Line(server) as line:
        yield line


@pytest.fixture(autouse=True, scope="module")
def unharmed(server: Server) -> Iterator[None]:
    """After all of it the server is ready, and has nothing to report."""
    yield
    assert server.ready()
    assert "Traceback" not in server.log
    assert "request_crashed" not in server.log


def numbered(number: int) -> bytes:
    """A good request whose answer can be told from others."""
    return request(INFER, text({**json.loads(text()), "id": f"number {number}"}))


def is_good(answer: Answer) -> bool:
    return answer.status == 200 and TWICE in answer.body


def stays_open(line: Line) -> bool:
    """Whether one more request is answered."""
    line.send(GOOD)
    return is_good(line.answer())


def test_one_connection_takes_any_number_of_requests_good_and_bad(line: Line):
    for _ in range(20):
        for sent, status in ((GOOD, 200), (META, 200), (request(INFER, b"{"), 400), (request("/v3"), 404)):
            line.send(sent)
            assert line.answer().status == status


def test_pipelined_requests_are_answered_in_their_order(line: Line):
    asked = [
        *((numbered(number), 200) for number in range(5)),
        (META, 200),
        (request(PREDICT, b'{"x": [1, 2, 3, 4]}'), 200),
        (numbered(5), 200),
        (request(INFER, b"{"), 400),
        (in_chunks(INFER, [text()]), 200),
        (request("/v2", method="DELETE"), 405),
        (request("/v3", text()), 404),
        (numbered(6), 200),
    ]
    line.send(b"".join(sent for sent, _ in asked))
    answers = [line.answer() for _ in asked]
    assert [answer.status for answer in answers] == [status for _, status in asked]
    named = [json.loads(answer.body)["id"] for answer in answers if b"number" in answer.body]
    assert named == [f"number {number}" for number in range(7)]


def test_a_thousand_pipelined_requests_are_answered_in_their_order(line: Line):
    line.send(b"".join(numbered(number) for number in range(1000)))
    for number in range(1000):
        assert json.loads(line.answer().body)["id"] == f"number {number}"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_client_that_wants_the_connection_closed_has_it_closed(line: Line, version: str):
    headers = ["Connection: close"] if version == "1.1" else []
    line.send(request(INFER, text(), *headers, version=version))
    answer = line.answer()
    assert is_good(answer)
    assert answer.headers["connection"] == "close"
    assert line.ended()


def test_a_refusal_does_not_close_the_connection(line: Line):
    line.send(request(INFER, b"{"))
    assert line.answer().status == 400
    assert stays_open(line)


@pytest.mark.parametrize("path", [INFER, PREDICT])
def test_a_client_that_asks_first_is_told_to_continue(line: Line, path: str):
    body = text() if path == INFER else b'{"x": [1, 2, 3, 4]}'
    sent = request(path, body, "Expect: 100-continue")
    line.send(sent.removesuffix(body))
    assert line.answer().status == 100
    line.send(body)
    assert line.answer().status == 200
    assert stays_open(line)


def test_a_client_that_asks_first_for_too_much_is_told_at_once(line: Line):
    line.send(request(INFER, b"", "Expect: 100-continue", size=LARGEST + 1))
    assert line.answer().status == 413


@pytest.mark.parametrize("path", [INFER, PREDICT, "/v2/repository/index"])
def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(line: Line, path: str):
    line.send(request(path, b"", size=10**15))
    answer = line.answer()
    assert answer.status == 413
    assert "--http-max-input-size" in answer.error


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_body_may_come_in_chunks(line: Line, size: int):
    body = text()
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    line.send(in_chunks(INFER, chunks))
    assert is_good(line.answer())
    assert stays_open(line)


def test_chunks_may_have_extensions_and_trailers(line: Line):
    sent = in_chunks(INFER, [text()]).replace(b"\r\n\r\n{", b"\r\n\r\n", 1)
    head, _, _ = sent.partition(b"\r\n\r\n")
    body = b"%x;name=value\r\n%b\r\n0\r\nTrailer: yes\r\n\r\n" % (len(text()), text())
    line.send(head + b"\r\n\r\n" + body)
    assert is_good(line.answer())
    assert stays_open(line)


@pytest.mark.parametrize("path", ["/v2/health/live", INFER, "/v2/models/double", "/docs"])
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_are_refused_as_any_other_wrong_method(line: Line, path: str, method: str):
    line.send(request(path, method=method))
    answer = line.answer(to=method)
    assert answer.status == 405
    assert answer.headers["allow"] in ("GET", "POST")
    assert (answer.body == b"") is (method == "HEAD")
    assert stays_open(line)


def test_names_of_headers_may_be_in_any_case(line: Line):
    for name in ("inference-header-content-length", "INFERENCE-HEADER-CONTENT-LENGTH"):
        line.send(request(INFER, HEAD + bytes(16), f"{name}: {len(HEAD)}"))
        assert is_zero(line.answer())


def is_zero(answer: Answer) -> bool:
    return answer.status == 200 and b'"data":[0.0,0.0,0.0,0.0]' in answer.body


@pytest.mark.parametrize("path", [f"http://tercet:8000{INFER}", f"{INFER}?trace=1", f"{INFER}#y"])
def test_a_path_may_come_with_a_host_a_query_or_a_fragment(line: Line, path: str):
    line.send(request(path, text()))
    assert is_good(line.answer())


@pytest.mark.parametrize("name", ["%64ouble", "doubl%65", "%64%6F%75%62%6C%65"])
def test_a_name_may_be_percent_encoded_where_it_need_not(line: Line, name: str):
    line.send(request(f"/v2/models/{name}/infer", text()))
    assert is_good(line.answer())


def test_a_model_of_an_odd_name_is_served_by_all_doors(server: Server, line: Line):
    for path in ("infer", "versions/1/infer"):
        line.send(request(to_model(ODD_NAME, path), text()))
        answer = line.answer()
        assert b'"data":[3.0,6.0,9.0,12.0]' in answer.body
        assert json.loads(answer.body)["model_name"] == ODD_NAME
    line.send(request(to_model(ODD_NAME, "predict"), b'{"x": [1, 2, 3, 4]}'))
    assert json.loads(line.answer().body) == {"y": [3.0, 6.0, 9.0, 12.0]}
    for path in ("", "config", "ready", "stats"):
        line.send(request(to_model(ODD_NAME, *path.split()), method="GET"))
        assert ODD_NAME in json.dumps(json.loads(line.answer().body), ensure_ascii=False)
    assert server.index()[ODD_NAME, "1"] == ("READY", "")
    asker = Asker(server)
    message = Question(ODD_NAME, [filled("x", "FP32", 1, 4)]).over_grpc(RAW).SerializeToString()
    assert pb.ModelInferResponse.FromString(asker.call("ModelInfer", message).answer).model_name == ODD_NAME
    asker.close()


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET], ids=["HTTP/2", "WebSocket"])
def test_an_offer_of_another_protocol_is_passed_over_and_the_request_answered(
    line: Line, offer: tuple[str, ...]
):
    for path, body in ((INFER, text()), (PREDICT, b'{"x": [1, 2, 3, 4]}'), (INFER, b"{")):
        line.send(request(path, body, *offer))
        assert line.answer().status == (400 if body == b"{" else 200)
    line.send(in_chunks(INFER, [text()], *offer))
    assert is_good(line.answer())
    line.send(request("/v2", b"", *offer, method="GET"))
    assert line.answer().status == 200
    assert stays_open(line)


def test_an_offer_of_another_protocol_does_not_keep_a_connection_that_is_to_close(line: Line):
    line.send(request(INFER, text(), "Connection: close, Upgrade", "Upgrade: h2c"))
    assert is_good(line.answer())
    assert line.ended()


GARBAGE = b"this is not HTTP\r\n\r\n"
IN_FRONT = {
    "one that takes the short way": [GOOD],
    "one that takes the long way": [META],
    "one that runs code of its own": [request(PREDICT, b'{"x": [1, 2, 3, 4]}')],
    "several": [GOOD, META, GOOD, request(PREDICT, b'{"x": [1, 2, 3, 4]}'), GOOD],
}
BEHIND = {
    "garbage": (GARBAGE, 400),
    "a bad chunk": (in_chunks(PREDICT, [b"{}"]).replace(b"\r\n2\r\n", b"\r\nx\r\n"), 400),
    "too long a head": (request("/v2", b"", "X-Long: " + "x" * 70_000, method="GET"), 431),
}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("in_front", IN_FRONT)
def test_garbage_behind_good_requests_does_not_cost_them_their_answers(
    line: Line, in_front: str, behind: str
):
    sent, status = BEHIND[behind]
    line.send(b"".join(IN_FRONT[in_front]) + sent + GOOD)
    for _ in IN_FRONT[in_front]:
        assert line.answer().status == 200
    answer = line.answer()
    assert answer.status == status
    assert answer.error
    assert line.ended()


def test_a_large_body_in_front_does_not_count_as_the_head_of_the_next_request(line: Line):
    """Both may come in one read; the head of the second one has not ended when it is looked at."""
    large = request(INFER, b" " * 200_000 + text())
    for cut in (1, 20, len(META) - 1):
        line.send(large + META[:cut])
        assert is_good(line.answer())
        line.send(META[cut:])
        assert line.answer().status == 200


def test_a_head_is_held_to_its_limit_in_however_many_pieces_it_comes(server: Server, line: Line):
    head = request("/v2", b"", *["X-Padding: " + "x" * 1000] * 70, method="GET")
    with Line(server) as other:
        for at in range(0, len(head), 25_000):
            line.send(head[at : at + 25_000])
            for _ in range(2):  # once they are answered, the piece has been read
                other.send(META)
                assert other.answer().status == 200
    assert line.answer().status == 431
    assert line.ended()


HALVES = {
    "of a line": GOOD[:10],
    "of a head": GOOD[:60],
    "of a body": GOOD[:-10],
    "of a body for people": request(PREDICT, b'{"x": [1, 2, 3, 4]}')[:-5],
    "of an order": request("/v2/repository/index", b'{"ready": true}')[:-5],
    "of a chunk": in_chunks(INFER, [text()])[:-20],
}


@pytest.mark.parametrize("half", HALVES)
def test_a_client_that_leaves_after_half_a_request_is_no_trouble(server: Server, half: str):
    for slowly in (False, True):
        with Line(server) as line:
            if slowly:
                for byte in HALVES[half]:
                    line.send(bytes([byte]))
            else:
                line.send(HALVES[half])
            line.send_no_more()
            with pytest.raises(Closed):
                line.answer()
    assert server.ready()


@pytest.mark.parametrize("sent", [META, GOOD, in_chunks(INFER, [text()])], ids=["meta", "short", "long"])
def test_a_client_that_leaves_with_many_requests_unanswered_is_no_trouble(server: Server, sent: bytes):
    """None of them writes into a connection that is gone: the log would say so."""
    for _ in range(10):
        with Line(server) as line:
            line.send(sent * 300)
            line.answer()
    with Line(server) as line:
        assert stays_open(line)


def test_uploads_that_are_cut_off_leave_nothing_behind(server: Server):
    def cut_off(path: str) -> None:
        with Line(server) as line:
            line.send(request(path, bytes(LARGEST - 1), size=LARGEST))

    for path in (INFER, PREDICT):
        cut_off(path)
    before = server.rss_bytes()
    for _ in range(20):
        for path in (INFER, PREDICT):
            cut_off(path)
    with Line(server) as line:  # when this is answered, so is all that came before
        assert stays_open(line)
    assert server.rss_bytes() - before < 10 * LARGEST
