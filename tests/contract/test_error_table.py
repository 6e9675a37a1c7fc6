"""The table of errors, row by row: one trouble has one code over REST, one over gRPC, and one sentence."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from grpc import StatusCode

from protos import inference_pb2 as pb
from tests.contract.line import Answer, Line, request
from tests.contract.models import BATCHED, BROKEN
from tests.contract.question import Question, Tensor, filled
from tests.contract.rows import (
    INTERNAL,
    INVALID,
    NOT_FOUND,
    OVERLOADED,
    SERVICE,
    TOO_LATE,
    UNAVAILABLE,
    Asker,
    Codes,
    Ended,
)
from tests.contract.tables.errors import TABLE, Row, about, infer, of, order
from tests.e2e.line import HALF_A_SECOND, busy, until, waiting
from tests.e2e.workshop import ONE_BY_ONE, PICKY_POST, PICKY_PRE, put, slow, times
from tests.server_process import Server, running

Asked = tuple[bytes, tuple[str, bytes]]
"""The same twice: a request over HTTP, and a call's method and message."""

GOOD = Question("double", [filled("x", "FP32", 1, 4)])


def twice(asker: Asker, asked: Asked) -> tuple[Answer, Ended]:
    sent, call = asked
    return asker.rest(sent, verb_of(sent)), asker.call(*call)


def verb_of(sent: bytes) -> str:
    return sent.partition(b" ")[0].decode()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.trouble)
def test_one_trouble_has_two_codes_and_one_sentence(asker: Asker, row: Row):
    sentences = set()
    if row.rest is not None:
        answer = asker.rest(row.rest, verb_of(row.rest))
        assert (answer.status, answer.error) == (row.codes.http, AnyWith(row.says))
        sentences.add(answer.error)
    if row.call is not None:
        ended = asker.call(*row.call)
        assert (ended.status, ended.details) == (row.codes.grpc, AnyWith(row.says))
        sentences.add(ended.details)
    assert len(sentences) == 1 or not row.same


class AnyWith(str):
    """Equal to every text that it is a piece of: so a failure shows the whole one."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self) in str(other)


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
def test_a_wrong_verb_is_405_and_names_the_right_one(asker: Asker, verb: str):
    answer = asker.rest(request(GOOD.path(), method=verb), verb)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert answer.error == f"{verb} is not allowed on {GOOD.path()}; use POST"


def test_a_head_that_is_too_large_is_431(asker: Asker):
    answer = asker.rest(request("/v2", b"", "X-Long: " + "x" * 70_000, method="GET"), "GET")
    assert (answer.status, "--http-max-header-bytes" in answer.error) == (431, True)


def test_a_model_that_is_unloaded_has_no_available_versions(server: Server, asker: Asker):
    assert twice(asker, order("small", "load"))[0].status == 200
    assert twice(asker, order("small", "unload"))[0].status == 200
    try:
        answer, ended = twice(asker, of(filled("x", "UINT8", 1, 2), model="small"))
        assert (answer.status, ended.status) == NOT_FOUND
        says = "Request for unknown model: 'small' has no available versions"
        assert answer.error == ended.details == says
    finally:
        assert twice(asker, order("small", "load"))[0].status == 200


def test_what_is_refused_before_it_is_scheduled_is_no_failure_of_the_model(server: Server, asker: Asker):
    def failures() -> int:
        (told,) = server.client.get("/v2/models/double/stats").json()["model_stats"]
        count: int = told["inference_stats"]["fail"]["count"]
        return count

    before = failures()
    twice(asker, of(filled("x", "FP32", 9, 4)))
    assert failures() == before


@pytest.mark.parametrize(("model", "version"), [("nobody", ""), (BROKEN, ""), ("double", "77")])
def test_a_model_that_is_not_ready_says_so_under_the_key_that_clients_read(
    asker: Asker, model: str, version: str
):
    answer, ended = twice(asker, about(model, version, "ready", "ModelReady"))
    assert (answer.status, ended.status) == (400, StatusCode.OK)
    assert json.loads(answer.body)["ready"] is False
    assert pb.ModelReadyResponse.FromString(ended.answer).ready is False


class Overload(NamedTuple):
    """What an operator may choose for overload and lateness; each goes with a mode of its own, too."""

    status: str
    mode: str
    full: Codes
    late: Codes


OVERLOADS = [
    Overload("tercet", "poll", OVERLOADED, TOO_LATE),
    Overload("triton", "none", UNAVAILABLE, UNAVAILABLE),
]


@pytest.fixture(scope="module", params=OVERLOADS, ids=lambda overload: overload.status)
def overload(request: pytest.FixtureRequest) -> Overload:
    choice: Overload = request.param
    return choice


@pytest.fixture(scope="module")
def strained(overload: Overload, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Not ready: `broken` does not load. `slow` takes its time, and `picky` falls over."""
    folder = tmp_path_factory.mktemp("strained")
    put(folder, "double", times(2, 4), BATCHED)
    put(folder, "slow", slow(), ONE_BY_ONE)
    put(folder, "picky", times(2, 1), BATCHED, pre_py=PICKY_PRE, post_py=PICKY_POST)
    put(folder, BROKEN, b"this is not a model", BATCHED)
    log = tmp_path_factory.mktemp("log") / "log"
    options = [
        *("--repository-settle-secs=0", f"--overload-status={overload.status}"),
        f"--model-control-mode={overload.mode}",
    ]
    with running(log, folder, options=options, wait=False) as server:
        server.until(lambda: "server_ready" in server.log)
        yield server


@pytest.fixture
def strained_asker(strained: Server) -> Iterator[Asker]:
    asker = Asker(strained)
    yield asker
    asker.close()


def test_a_server_that_is_not_ready_is_400_and_false(strained_asker: Asker):
    answer, ended = twice(strained_asker, READY)
    assert (answer.status, ended.status) == (400, StatusCode.OK)
    assert "does not serve" in answer.error
    assert pb.ServerReadyResponse.FromString(ended.answer).ready is False
    answer, ended = twice(strained_asker, infer(GOOD))
    assert (answer.status, ended.status) == (200, StatusCode.OK)


@pytest.mark.parametrize("what", ["load", "unload"])
def test_an_order_in_another_mode_than_explicit_is_unavailable(strained_asker: Asker, what: str):
    answer, ended = twice(strained_asker, order("double", what))
    assert (answer.status, ended.status) == UNAVAILABLE
    assert (
        answer.error == ended.details == "explicit model load / unload is not allowed if polling is enabled"
    )


READY: Asked = (request("/v2/health/ready", method="GET"), ("ServerReady", b""))


def weighing(kilograms: float) -> Asked:
    return infer(Question("picky", [Tensor("x", "FP32", [1, 1], [kilograms])]))


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
    return infer(Question("slow", [Tensor("rounds", "INT64", [1, 1], [rounds])], parameters=parameters))


async def test_a_full_queue_is_overload(overload: Overload, strained: Server, strained_asker: Asker):
    sent, (method, message) = to_slow()
    async with busy(strained):
        last = strained_asker.channel.unary_unary(f"/{SERVICE}/{method}").future(message)
        await until(lambda: waiting(strained) == 2)
        answer, ended = await asyncio.to_thread(twice, strained_asker, (sent, (method, message)))
    assert await asyncio.to_thread(last.result, 10)
    assert (answer.status, ended.status) == overload.full
    assert answer.error == ended.details
    assert "Exceeds maximum queue size" in answer.error
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_deadline_that_passes_in_the_queue_is_too_late(
    overload: Overload, strained: Server, strained_asker: Asker
):
    async with busy(strained):
        answer, ended = await asyncio.to_thread(twice, strained_asker, to_slow(timeout=20_000))
    assert (answer.status, ended.status) == overload.late
    assert answer.error == ended.details == "Request timeout expired for model 'slow'"


async def test_a_caller_who_leaves_is_cancelled(strained: Server, strained_asker: Asker):
    """Over REST nobody hears it; the access line has 499 for one, and CANCELLED for the other."""
    sent, (method, message) = to_slow()
    async with busy(strained):
        call = strained_asker.channel.unary_unary(f"/{SERVICE}/{method}").future(message)
        await until(lambda: waiting(strained) == 2)
        call.cancel()
        await until(lambda: waiting(strained) == 1)
        with Line(strained) as line:
            line.send(sent)
            await until(lambda: waiting(strained) == 2)
        await until(lambda: waiting(strained) == 1)
    assert call.code() is StatusCode.CANCELLED
    await until(lambda: '"status":499}' in strained.log and '"status":1}' in strained.log)


SLOW_TO_LOAD = "import time\n\ntime.sleep(2)\n\n\ndef preprocess(inputs):\n    return inputs\n"


def test_a_server_that_starts_is_not_ready_and_its_models_are_unavailable(tmp_path: Path):
    folder = tmp_path / "repository"
    put(folder, "double", times(2, 4), BATCHED, pre_py=SLOW_TO_LOAD)
    with running(tmp_path / "log", folder, options=["--repository-settle-secs=0"], wait=False) as server:
        server.until(lambda: ("double", "1") in index_of(server), every_s=0.01)
        asker = Asker(server)
        answer, ended = twice(asker, READY)
        assert (answer.status, answer.error) == (400, "the server is still starting")
        assert pb.ServerReadyResponse.FromString(ended.answer).ready is False
        for version in ("", "1"):
            answer, ended = twice(asker, infer(Question("double", GOOD.inputs, version=version)))
            assert (answer.status, ended.status) == UNAVAILABLE, answer.error
            assert answer.error == ended.details
        server.until(server.ready)
        answer, ended = twice(asker, infer(GOOD))
        assert (answer.status, ended.status) == (200, StatusCode.OK)
        asker.close()


def index_of(server: Server) -> dict[tuple[str, str], tuple[str, str]]:
    """Empty while nobody listens yet."""
    try:
        return server.index()
    except httpx.HTTPError:
        return {}


def test_a_server_on_its_way_out_is_unavailable(tmp_path: Path):
    folder = tmp_path / "repository"
    put(folder, "slow", slow(), ONE_BY_ONE)
    with running(tmp_path / "log", folder, options=["--drain-grace-secs=0.5"]) as server:
        asker = Asker(server)
        _, (method, message) = to_slow(4 * HALF_A_SECOND)
        last = asker.channel.unary_unary(f"/{SERVICE}/{method}").future(message)
        server.terminate()
        server.until(lambda: "server_leaving" in server.log, every_s=0.005)
        answer, ended = twice(asker, READY)
        assert (answer.status, answer.error) == (503, "the server is stopping")
        assert pb.ServerReadyResponse.FromString(ended.answer).ready is False
        _, (method, message) = infer(GOOD)
        assert (
            asker.call(method, message).status is StatusCode.NOT_FOUND
        )  # still served: there is no such model
        server.until(lambda: asker.call(method, message).status is StatusCode.UNAVAILABLE, every_s=0.02)
        assert pb.ModelInferResponse.FromString(last.result(30)).raw_output_contents
        asker.close()
