"""When a version's own pre.py or post.py refuses a request, or fails."""

import re

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.e2e.triton import tensors
from tests.server_process import Server

REFUSED = [(-1.0, "x must not be below 0, as it is a weight in kg"), (4.0, "nothing weighs 8 kg")]
FAILED = [(1000.0, "pre"), (5.0, "post")]


def post(each_workshop: Server, x: float, **more: str) -> tuple[int, str]:
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [x]}
    answer = each_workshop.client.post("/v2/models/picky/infer", json={"inputs": [tensor], **more})
    return answer.status_code, answer.text


def call(each_workshop: Server, x: float, request_id: str = "") -> tuple[str, str]:
    """The gRPC status and sentence of a request that is refused."""
    rows = tensors(triton, {"x": np.array([[x]], np.float32)})
    with (
        triton.InferenceServerClient(each_workshop.grpc) as client,
        pytest.raises(InferenceServerException) as refusal,
    ):
        client.infer("picky", rows, request_id=request_id)
    return refusal.value.status(), refusal.value.message()


def traceback_of(each_workshop: Server, request_id: str) -> str:
    """What the log says in the lines after the one that has the request's id."""
    line = re.compile(rf"^.*stage_failed.*request_id={request_id}\b.*$", re.MULTILINE)
    each_workshop.until(lambda: line.search(each_workshop.log) is not None, within_s=5)
    found = line.search(each_workshop.log)
    assert found
    return each_workshop.log[found.start() : found.end() + 2000]


def test_a_request_that_both_accept_is_answered(each_workshop: Server):
    status, text = post(each_workshop, 3)
    assert status == 200
    assert '"data":[6.0]' in text


@pytest.mark.parametrize(("x", "words"), REFUSED, ids=["pre", "post"])
def test_a_value_error_is_the_callers_fault_in_the_codes_own_words(
    each_workshop: Server, x: float, words: str
):
    assert post(each_workshop, x) == (400, f'{{"error":"{words}"}}')
    assert call(each_workshop, x) == ("StatusCode.INVALID_ARGUMENT", words)


@pytest.mark.parametrize(("x", "stage"), FAILED, ids=["pre", "post"])
def test_any_other_failure_is_found_in_the_log_by_the_id_in_the_answer(
    each_workshop: Server, x: float, stage: str
):
    sentence = (
        rf"the {stage} stage of model 'picky' version 1 failed; "
        r"the server's log has the details under request id (\w+)"
    )
    status, text = post(each_workshop, x)
    grpc_status, details = call(each_workshop, x)
    assert (status, grpc_status) == (500, "StatusCode.INTERNAL")
    for answer in (text, details):
        said = re.search(sentence, answer)
        assert said, answer
        logged = traceback_of(each_workshop, said[1])
        assert f"model=picky version=1 stage={stage}" in logged
        assert "Traceback" in logged
        assert "LookupError: the scales are at home" in logged


@pytest.mark.parametrize(("x", "stage"), FAILED, ids=["pre", "post"])
def test_the_callers_own_request_id_is_the_one_in_the_log(each_workshop: Server, x: float, stage: str):
    assert f"under request id by-http-{stage}" in post(each_workshop, x, id=f"by-http-{stage}")[1]
    assert f"under request id by-grpc-{stage}" in call(each_workshop, x, f"by-grpc-{stage}")[1]
    for door in ("http", "grpc"):
        assert "the scales are at home" in traceback_of(each_workshop, f"by-{door}-{stage}")


@pytest.mark.parametrize("x", [x for x, _ in FAILED], ids=["pre", "post"])
def test_nothing_internal_is_in_the_answer(each_workshop: Server, x: float):
    for answer in (post(each_workshop, x)[1], call(each_workshop, x)[1]):
        for internal in ("Traceback", "LookupError", "scales", ".py", "/"):
            assert internal not in answer


def test_a_failure_harms_no_other_request(each_workshop: Server):
    for x, _ in (*REFUSED, *FAILED):
        post(each_workshop, x)
        assert post(each_workshop, 3)[0] == 200
    assert each_workshop.ready()
