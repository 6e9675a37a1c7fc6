"""How much a request may hold: what is inside is answered, what is over is refused and names the option."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from grpc import StatusCode

from protos import inference_pb2 as pb
from tests.contract.line import Line, in_chunks, request, to_model
from tests.contract.models import BATCHED, pair
from tests.contract.question import BINARY, FORMS, JSON, RAW, Question, Tensor, filled
from tests.contract.rows import INVALID, TOO_LARGE, Asker, Codes
from tests.e2e.workshop import echo, put, times
from tests.server_process import Server, running

OPTIONS = [
    "--max-name-length=40",
    "--max-request-id-length=36",
    "--max-string-parameter-length=100",
    "--max-request-parameters=8",
    "--max-request-tensors=6",
    "--max-tensor-elements=32",
    "--http-max-json-depth=10",
    "--http-max-headers=20",
    "--http-max-chunks=16",
    "--http-max-header-bytes=8192",
]
X = filled("x", "FP32", 1, 4)
GOOD = Question("double", [X])
INFER = GOOD.path()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits")
    put(folder, "double", times(2, 4), BATCHED)
    put(folder, "echo", echo(), "max_batch_size: 64")
    put(folder, "pair", pair(), BATCHED)
    return folder


@pytest.fixture(scope="module", params=["native", "grpcio"])
def strict(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with small limits, by either gRPC front."""
    log = tmp_path_factory.mktemp("log") / "log"
    with running(log, repository, options=[*OPTIONS, f"--grpc-front={request.param}"]) as server:
        yield server
        assert "Traceback" not in server.log, server.log[server.log.index("Traceback") - 200 :]


@pytest.fixture
def strict_asker(strict: Server) -> Iterator[Asker]:
    asker = Asker(strict)
    yield asker
    asker.close()


def named(count: int, size: int = 1) -> dict[str, str]:
    return {f"key {number}": "v" * size for number in range(count)}


def asked_for(count: int) -> Question:
    return Question("double", [X], [("y" if not number else f"z{number}", {}) for number in range(count)])


def texts(count: int) -> Question:
    return Question("echo", [filled("said", "BYTES", count, 1)])


QUESTIONS: dict[str, tuple[Callable[[int], Question], int, str, Codes]] = {
    "the name of the model": (lambda size: Question("m" * size, [X]), 40, "--max-name-length", INVALID),
    "the name of an input": (
        lambda size: Question("double", [filled("x" * size, "FP32", 1, 4)]),
        40,
        "--max-name-length",
        INVALID,
    ),
    "the name of an output": (
        lambda size: Question("double", [X], [("y" * size, {})]),
        40,
        "--max-name-length",
        INVALID,
    ),
    "the name of a parameter": (
        lambda size: Question("double", [X], parameters={"p" * size: 1}),
        40,
        "--max-name-length",
        INVALID,
    ),
    "the name of a parameter of an input": (
        lambda size: Question("double", [filled("x", "FP32", 1, 4, parameters={"p" * size: 1})]),
        40,
        "--max-name-length",
        INVALID,
    ),
    "a string": (
        lambda size: Question("double", [X], parameters={"said": "s" * size}),
        100,
        "--max-string-parameter-length",
        INVALID,
    ),
    "a string for an output": (
        lambda size: Question("double", [X], [("y", {"said": "s" * size})]),
        100,
        "--max-string-parameter-length",
        INVALID,
    ),
    "the number of parameters": (
        lambda count: Question("double", [X], parameters=named(count)),
        8,
        "--max-request-parameters",
        INVALID,
    ),
    "the number of an output's parameters": (
        lambda count: Question("double", [X], [("y", named(count))]),
        8,
        "--max-request-parameters",
        INVALID,
    ),
    "the number of inputs": (
        lambda count: Question("double", [filled(f"x{number}", "FP32", 1, 4) for number in range(count)]),
        6,
        "--max-request-tensors",
        INVALID,
    ),
    "the number of outputs": (asked_for, 6, "--max-request-tensors", INVALID),
    "elements of a fixed size": (
        lambda count: Question("double", [filled("x", "FP32", count, 1)]),
        32,
        "--max-tensor-elements",
        TOO_LARGE,
    ),
    "elements of any size": (texts, 32, "--max-tensor-elements", TOO_LARGE),
}
"""What is limited: a question of this size, the limit, the option, and the codes of the refusal."""


def told(asker: Asker, question: Question, form: str) -> tuple[int | StatusCode, str]:
    """The code, and the sentence of a refusal."""
    if form in (JSON, BINARY):
        answer = asker.rest(question.over_http(form))
        return answer.status, "" if answer.status == 200 else answer.error
    ended = asker.call("ModelInfer", question.over_grpc(form).SerializeToString())
    return ended.status, ended.details


def is_refused(asker: Asker, question: Question, form: str, codes: Codes, says: str) -> bool:
    code, sentence = told(asker, question, form)
    return code == (codes.http if form in (JSON, BINARY) else codes.grpc) and says in sentence


@pytest.mark.parametrize("what", QUESTIONS)
def test_more_is_refused_in_every_form_and_as_much_is_not(strict_asker: Asker, what: str):
    ask, limit, option, codes = QUESTIONS[what]
    for form in FORMS:
        assert is_refused(strict_asker, ask(limit + 1), form, codes, f"more than the {limit} that {option}")
        assert option not in told(strict_asker, ask(limit), form)[1]


def test_an_id_may_be_as_long_as_a_uuid_and_no_longer(strict_asker: Asker, strict: Server):
    for size, status, code in ((36, 200, StatusCode.OK), (37, 400, StatusCode.INVALID_ARGUMENT)):
        document = {**json.loads(GOOD.in_json()), "id": "i" * size}
        answer = strict_asker.rest(request(INFER, json.dumps(document).encode()))
        message = GOOD.over_grpc(RAW)
        message.id = "i" * size
        ended = strict_asker.call("ModelInfer", message.SerializeToString())
        assert (answer.status, ended.status) == (status, code)
        if size > 36:
            assert answer.error == ended.details
            assert answer.error.endswith("more than the 36 that --max-request-id-length allows")


def test_the_access_line_of_an_id_without_end_ends(strict_asker: Asker, strict: Server):
    message = GOOD.over_grpc(RAW)
    message.id = "i" * 500_000
    assert strict_asker.call("ModelInfer", message.SerializeToString()).status is INVALID.grpc
    strict.until(lambda: '"request_id":"iiii' in strict.log)
    assert "i" * 2000 not in strict.log


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("place", "above"), [("beside", 1), ("in the parameters", 2), ("in an input", 3), ("in the data", 3)]
)
def test_json_nests_no_deeper_than_it_may(strict_asker: Asker, place: str, above: int):
    for levels, refused in ((10, False), (11, True)):
        document: dict[str, Any] = json.loads(GOOD.in_json())
        value = nested(levels - above)
        match place:
            case "beside":
                document["more"] = value
            case "in the parameters":
                document["parameters"] = {"more": value}
            case "in an input":
                document["inputs"][0]["more"] = value
            case _:
                document["inputs"][0]["data"] = value
        answer = strict_asker.rest(request(INFER, json.dumps(document).encode()))
        says = b"the 10 levels that --http-max-json-depth allows"
        assert (answer.status == 400 and says in answer.body) is refused, answer


def test_a_message_names_no_model_of_a_long_name_in_any_call(strict_asker: Asker):
    for method, message in (
        ("ModelReady", pb.ModelReadyRequest(name="m" * 41)),
        ("ModelMetadata", pb.ModelMetadataRequest(name="m" * 41)),
        ("ModelConfig", pb.ModelConfigRequest(name="m" * 41)),
        ("ModelStatistics", pb.ModelStatisticsRequest(name="m" * 41)),
        ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="m" * 41)),
    ):
        ended = strict_asker.call(method, message.SerializeToString())
        assert ended.status is StatusCode.INVALID_ARGUMENT
        assert "--max-name-length" in ended.details
    for path, method in (("", "GET"), ("config", "GET"), ("ready", "GET"), ("infer", "POST")):
        answer = strict_asker.rest(request(to_model("m" * 41, path), method=method), method)
        assert (answer.status, "--max-name-length" in answer.error) == (400, True)


def test_a_shape_of_forty_thousand_sizes_is_refused_at_once(server: Server, asker: Asker):
    """Each so large that to multiply them all would take minutes."""
    question = Question("double", [Tensor("x", "FP32", [2**62] * 40_000, [1.0])])
    began = time.monotonic()
    for form in FORMS:
        assert is_refused(asker, question, form, INVALID, "but a tensor has 64 at most")
    assert time.monotonic() - began < 5


def test_a_shape_of_a_few_hundred_sizes_is_refused_in_a_sentence(asker: Asker):
    """Their product has more digits than Python writes."""
    for dimensions in (65, 250, 400):
        question = Question("double", [Tensor("x", "FP32", [2**62] * dimensions, [1.0])])
        for form in FORMS:
            assert is_refused(asker, question, form, INVALID, "input 'x'")


def test_a_deep_value_where_a_number_is_due_is_shown_in_short(asker: Asker):
    for value in (nested(400), [0] * 200_000, "x" * 200_000):
        document = {**json.loads(GOOD.in_json()), "parameters": {"timeout": value}}
        answer = asker.rest(request(INFER, json.dumps(document).encode()))
        assert answer.status == 400
        assert "parameter 'timeout'" in answer.error
        assert len(answer.error) < 200


HEADS = {
    "on the short way": lambda count: request(INFER, GOOD.in_json(), *many_headers(count - 2)),
    "on the long way": lambda count: request("/v2", b"", *many_headers(count - 2), method="GET"),
}


def many_headers(count: int) -> list[str]:
    """Beside Host and Content-Length."""
    return [f"X-{number}: {'v' * 20}" for number in range(count)]


@pytest.mark.parametrize("way", HEADS)
def test_a_request_has_as_many_headers_as_it_may(strict: Server, way: str):
    with Line(strict) as line:
        line.send(HEADS[way](20))
        assert line.answer().status == 200
        line.send(HEADS[way](21))
        answer = line.answer()
        assert answer.status == 431
        assert "21 headers, more than the 20 that --http-max-headers allows" in answer.error
        assert line.ended()


def cut(count: int) -> list[bytes]:
    """The good body in so many chunks; the last chunk, which is empty, comes on top."""
    body = GOOD.in_json()
    return [*(body[at : at + 1] for at in range(count - 1)), body[count - 1 :]]


def test_a_body_comes_in_as_many_chunks_as_it_may(strict: Server):
    with Line(strict) as line:
        line.send(in_chunks(INFER, cut(15)))
        assert line.answer().status == 200
        line.send(in_chunks(INFER, cut(16)))
        answer = line.answer()
        assert answer.status == 413
        assert "more than 16 chunks, the limit that --http-max-chunks sets" in answer.error
        assert line.ended()


CHUNKED = f"POST {INFER} HTTP/1.1\r\nHost: tercet\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
WITHOUT_END = {
    "an extension of the first chunk": (CHUNKED + b"2;name=", b"x" * 20_000, "--http-max-header-bytes"),
    "an extension of a later chunk": (
        CHUNKED + b"1\r\n{\r\n2;name=",
        b"x" * 20_000,
        "--http-max-header-bytes",
    ),
    "a trailer of one line": (
        CHUNKED + b"2\r\n{}\r\n0\r\nX-Long: ",
        b"x" * 20_000,
        "--http-max-header-bytes",
    ),
    "a trailer of many lines": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n" * 500, "--http-max-headers"),
}


@pytest.mark.parametrize("what", WITHOUT_END)
def test_what_lies_between_and_behind_chunks_has_an_end(strict: Server, what: str):
    beginning, more, option = WITHOUT_END[what]
    with Line(strict) as line, Line(strict) as other:
        line.send(beginning)
        for _ in range(3):
            line.send(more)
            other.send(request("/v2", method="GET"))
            assert other.answer().status == 200  # by then the piece has been read
        answer = line.answer()
    assert answer.status == 431
    assert option in answer.error


def test_a_trailer_does_not_change_what_the_head_says(strict: Server):
    body = GOOD.in_json()
    trailer = b"Inference-Header-Content-Length: 0\r\nContent-Encoding: gzip\r\n"
    with Line(strict) as line:
        line.send(CHUNKED + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailer))
        assert line.answer().status == 200


@pytest.fixture(scope="module")
def hurried(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Takes four connections, and waits a second and a half for a request."""
    options = [
        *("--http-max-connections=4", "--http-request-timeout-secs=1.5", "--http-keep-alive-secs=3"),
    ]
    with running(tmp_path_factory.mktemp("log") / "log", repository, options=options) as server:
        yield server
        assert "Traceback" not in server.log, server.log[server.log.index("Traceback") - 200 :]


SLOW = {
    "a head": request("/v2", b"", "X-Slow: " + "x" * 200, method="GET"),
    "a body on the short way": request(INFER, GOOD.in_json() + b" " * 200),
    "a body on the long way": request(to_model("double", "predict"), b'{"x": [1, 2, 3, 4]}' + b" " * 200),
    "a body in chunks": in_chunks(INFER, [GOOD.in_json() + b" " * 200]),
}


@pytest.mark.parametrize("what", SLOW)
def test_a_request_that_trickles_in_is_not_waited_for_without_end(hurried: Server, what: str):
    with Line(hurried) as line:
        line.send(SLOW[what][:-150])
        began = time.monotonic()
        for byte in SLOW[what][-150:-1]:
            line.send(bytes([byte]))
            if line.has_something_to_say(within_s=0.1):
                break
        answer = line.answer()
        assert 1 < time.monotonic() - began < 6
        assert answer.status == 408
        assert "within 1.5 seconds, the limit that --http-request-timeout-secs sets" in answer.error
        assert line.ended()


def test_a_connection_that_rests_between_requests_is_not_late(hurried: Server):
    with Line(hurried) as line:
        for _ in range(3):
            line.send(request(INFER, GOOD.in_json()))
            assert line.answer().status == 200
            assert not line.has_something_to_say(within_s=1.8)


def test_an_answer_that_nobody_takes_is_not_kept_without_end(hurried: Server):
    wide = Question("echo", [Tensor("said", "BYTES", [1, 1], ["x" * 2**20])]).over_http(BINARY)
    host, _, port = hurried.http.partition(":")
    with socket.create_connection((host, int(port))) as unread:
        own_port = unread.getsockname()[1]
        unread.settimeout(0.5)
        with pytest.raises(TimeoutError):  # the server takes no more, as none of its answers is taken
            unread.sendall(wide * 64)
        assert own_port in open_ports(hurried)
        hurried.until(lambda: own_port not in open_ports(hurried), within_s=20)


def open_ports(server: Server) -> set[int]:
    """Of the clients whose connections the server has not let go of."""
    return {each.raddr[1] for each in psutil.Process(server.pid).connections("tcp") if each.raddr}


def test_no_more_connections_are_held_than_may_be(hurried: Server):
    hurried.client.close()  # its own would be one of them
    host, _, port = hurried.http.partition(":")
    held: list[socket.socket] = []
    try:
        answers = []
        for _ in range(8):
            held.append(socket.create_connection((host, int(port)), timeout=10))
            held[-1].settimeout(0.3)
            try:
                answers.append(held[-1].recv(65_536))
            except TimeoutError:
                answers.append(b"")
    finally:
        for each in held:
            each.close()
    refused = [answer for answer in answers if answer]
    assert 4 <= len(refused) <= 5  # the fixture's own connection may still be there
    assert all(answer.startswith(b"HTTP/1.1 503") for answer in refused)
    assert all(b"--http-max-connections" in answer for answer in refused)
