"""The table of errors, row by row: one trouble has one code over REST, one over gRPC, and one sentence."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc import StatusCode

from protos import inference_pb2 as pb
from tests.contract.line import Answer, request, to_model
from tests.contract.models import BATCHED, BROKEN
from tests.contract.question import JSON, RAW, Question, Tensor, filled
from tests.contract.rows import (
    INTERNAL,
    INVALID,
    NOT_FOUND,
    OVERLOADED,
    SERVICE,
    TOO_LATE,
    UNAVAILABLE,
    UNSUPPORTED,
    Asker,
    Codes,
    Ended,
)
from tests.e2e.line import HALF_A_SECOND, busy, until, waiting
from tests.e2e.workshop import ONE_BY_ONE, PICKY_POST, PICKY_PRE, put, slow, times
from tests.server_process import Server, running

X = filled("x", "FP32", 1, 4)
GOOD = Question("double", [X])
REGION = {"shared_memory_region": "region", "shared_memory_byte_size": 16}

Asked = tuple[bytes, str, bytes]
"""The same twice: a request over HTTP, and a call's method and message."""


def inference(question: Question) -> Asked:
    return question.over_http(JSON), "ModelInfer", question.over_grpc(RAW).SerializeToString()


def about(model: str, asked: str, method: str) -> Asked:
    message = pb.ModelMetadataRequest(name=model)  # the requests about a model all have this layout
    return request(to_model(model, *asked.split()), method="GET"), method, message.SerializeToString()


def order(model: str, what: str, repository: str = "") -> Asked:
    """Load or unload."""
    path = "/".join(["/v2/repository", *([repository] if repository else []), "models", model, what])
    message = pb.RepositoryModelLoadRequest(repository_name=repository, model_name=model)
    return request(path), f"RepositoryModel{what.capitalize()}", message.SerializeToString()


def twice(asker: Asker, asked: Asked) -> tuple[Answer, Ended]:
    sent, method, message = asked
    http_method = sent.partition(b" ")[0].decode()
    return asker.rest(sent, http_method), asker.call(method, message)


ROWS: dict[str, tuple[Asked, Codes]] = {
    "a wrong shape": (inference(Question("double", [filled("x", "FP32", 1, 3)])), INVALID),
    "a wrong datatype": (inference(Question("double", [filled("x", "INT32", 1, 4)])), INVALID),
    "a missing input": (inference(Question("double", [])), INVALID),
    "an unknown input": (inference(Question("double", [filled("z", "FP32", 1, 4)])), INVALID),
    "too many rows": (inference(Question("double", [filled("x", "FP32", 9, 4)])), INVALID),
    "an unknown output": (inference(Question("double", [X], [("z", {})])), INVALID),
    "a parameter of a wrong kind": (inference(Question("double", [X], [], {"timeout": "5"})), INVALID),
    "statistics of an unknown model": (about("nobody", "stats", "ModelStatistics"), INVALID),
    "statistics of a model that does not serve": (about(BROKEN, "stats", "ModelStatistics"), INVALID),
    "inference of an unknown model": (inference(Question("nobody", [X])), NOT_FOUND),
    "inference of an unknown version": (inference(Question("double", [X], version="77")), NOT_FOUND),
    "inference where no version serves": (inference(Question(BROKEN, [X])), NOT_FOUND),
    "metadata of an unknown model": (about("nobody", "", "ModelMetadata"), NOT_FOUND),
    "configuration of an unknown model": (about("nobody", "config", "ModelConfig"), NOT_FOUND),
    "a version that is not ready": (inference(Question(BROKEN, [X], version="1")), UNAVAILABLE),
    "an input in shared memory": (
        inference(Question("double", [filled("x", "FP32", 1, 4, parameters=REGION)])),
        UNSUPPORTED,
    ),
    "an output in shared memory": (inference(Question("double", [X], [("y", REGION)])), UNSUPPORTED),
    "load from a repository by its name": (order("double", "load", "local"), UNSUPPORTED),
    "unload from a repository by its name": (order("double", "unload", "local"), UNSUPPORTED),
    "load of a name in no repository": (order("nobody", "load"), INTERNAL),
    "load of a broken model": (order(BROKEN, "load"), INVALID),  # as a running Triton answers
    "a model that fails": (
        inference(Question("fragile", [Tensor("place", "INT64", [1, 1], [7])])),
        INTERNAL,
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_one_trouble_has_two_codes_and_one_sentence(asker: Asker, row: str):
    asked, codes = ROWS[row]
    answer, ended = twice(asker, asked)
    assert (answer.status, ended.status) == codes
    if "repository" not in answer.error:  # which is a word of the path in one, a field in the other
        assert answer.error == ended.details


@pytest.mark.parametrize("model", ["nobody", BROKEN])
def test_a_model_that_is_not_ready_says_so_under_the_key_that_clients_read(asker: Asker, model: str):
    answer, ended = twice(asker, about(model, "ready", "ModelReady"))
    assert (answer.status, ended.status) == (400, StatusCode.OK)
    assert json.loads(answer.body)["ready"] is False
    assert pb.ModelReadyResponse.FromString(ended.answer).ready is False


@pytest.fixture(scope="module")
def strained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """In mode poll, and not ready: `broken` does not load. `slow` takes its time, and `picky` falls over."""
    folder = tmp_path_factory.mktemp("strained")
    put(folder, "double", times(2, 4), BATCHED)
    put(folder, "slow", slow(), ONE_BY_ONE)
    put(folder, "picky", times(2, 1), BATCHED, pre_py=PICKY_PRE, post_py=PICKY_POST)
    put(folder, BROKEN, b"this is not a model", BATCHED)
    log = tmp_path_factory.mktemp("log") / "log"
    with running(log, folder, options=["--repository-settle-secs=0"], wait=False) as server:
        server.until(lambda: "server_ready" in server.log)
        yield server


@pytest.fixture
def strained_asker(strained: Server) -> Iterator[Asker]:
    asker = Asker(strained)
    yield asker
    asker.close()


def test_a_server_that_is_not_ready_is_400_and_false(strained_asker: Asker):
    answer, ended = twice(strained_asker, (request("/v2/health/ready", method="GET"), "ServerReady", b""))
    assert (answer.status, ended.status) == (400, StatusCode.OK)
    assert "does not serve" in answer.error
    assert pb.ServerReadyResponse.FromString(ended.answer).ready is False
    answer, ended = twice(strained_asker, inference(GOOD))
    assert (answer.status, ended.status) == (200, StatusCode.OK)


@pytest.mark.parametrize("what", ["load", "unload"])
def test_an_order_in_mode_poll_is_unavailable(strained_asker: Asker, what: str):
    answer, ended = twice(strained_asker, order("double", what))
    assert (answer.status, ended.status) == UNAVAILABLE
    assert (
        answer.error == ended.details == "explicit model load / unload is not allowed if polling is enabled"
    )


def weighing(kilograms: float) -> Asked:
    return inference(Question("picky", [Tensor("x", "FP32", [1, 1], [kilograms])]))


@pytest.mark.parametrize(("stage", "kilograms"), [("pre", -1.0), ("post", 4.0)])
def test_what_a_stage_refuses_is_the_callers_fault(strained_asker: Asker, stage: str, kilograms: float):
    answer, ended = twice(strained_asker, weighing(kilograms))
    assert (answer.status, ended.status) == INVALID
    assert answer.error == ended.details


@pytest.mark.parametrize(("stage", "kilograms"), [("pre", 1000.0), ("post", 5.0)])
def test_what_a_stage_falls_over_is_internal_and_names_only_the_stage(
    strained_asker: Asker, stage: str, kilograms: float
):
    answer, ended = twice(strained_asker, weighing(kilograms))
    assert (answer.status, ended.status) == INTERNAL
    for sentence in (answer.error, ended.details):
        assert f"the {stage} stage of model 'picky' version 1 failed" in sentence
        assert "request id" in sentence
        assert "scales" not in sentence
        assert "/" not in sentence


def to_slow(rounds: int = 1, **parameters: int) -> Asked:
    return inference(Question("slow", [Tensor("rounds", "INT64", [1, 1], [rounds])], parameters=parameters))


async def test_a_full_queue_is_overload(strained: Server, strained_asker: Asker):
    sent, method, message = to_slow()
    async with busy(strained):
        last = strained_asker.channel.unary_unary(f"/{SERVICE}/{method}").future(message)
        await until(lambda: waiting(strained) == 2)
        answer, ended = await asyncio.to_thread(twice, strained_asker, (sent, method, message))
    assert await asyncio.to_thread(last.result, 10)
    assert (answer.status, ended.status) == OVERLOADED
    assert answer.error == ended.details
    assert "Exceeds maximum queue size" in answer.error
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_deadline_that_passes_in_the_queue_is_too_late(strained: Server, strained_asker: Asker):
    async with busy(strained):
        answer, ended = await asyncio.to_thread(twice, strained_asker, to_slow(timeout=20_000))
    assert (answer.status, ended.status) == TOO_LATE
    assert answer.error == ended.details == "Request timeout expired for model 'slow'"


def test_a_server_on_its_way_out_is_unavailable(tmp_path: Path):
    folder = tmp_path / "repository"
    put(folder, "slow", slow(), ONE_BY_ONE)
    with running(tmp_path / "log", folder, options=["--drain-grace-secs=0.5"]) as server:
        asker = Asker(server)
        _, method, message = to_slow(4 * HALF_A_SECOND)
        last = asker.channel.unary_unary(f"/{SERVICE}/{method}").future(message)
        server.terminate()
        server.until(lambda: "server_leaving" in server.log, every_s=0.005)
        answer, ended = twice(asker, (request("/v2/health/ready", method="GET"), "ServerReady", b""))
        assert (answer.status, answer.error) == (503, "the server is stopping")
        assert pb.ServerReadyResponse.FromString(ended.answer).ready is False
        _, method, message = inference(GOOD)
        assert (
            asker.call(method, message).status is StatusCode.NOT_FOUND
        )  # still served: there is no such model
        server.until(lambda: asker.call(method, message).status is StatusCode.UNAVAILABLE, every_s=0.02)
        assert pb.ModelInferResponse.FromString(last.result(10)).raw_output_contents
        asker.close()
