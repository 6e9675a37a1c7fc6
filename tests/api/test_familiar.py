"""A request that comes again with other numbers, and its answer, without reading what is known."""

import json

import numpy as np
import pytest

from server.api.answer_head import good_head
from server.api.familiar import LONGEST, MOST, Familiar, Familiars
from server.api.heads import Head
from server.api.infer_door import WORTH_PACKING, Target, Wishes
from server.domain.request import FOREVER, InferResponse
from server.domain.run_outputs import RunOutputs
from server.domain.signature import Signature
from server.domain.tensors import TensorSpec
from server.wire import infer_http
from server.wire.layout import kept_for

SPEC = TensorSpec("X", "FP32", (-1, 4))
VALUES = np.arange(4, dtype=np.float32).reshape(1, 4)
HTTP = b"POST /v2/models/m/infer HTTP/1.1\r\n\r\n"


def body_of(values: np.ndarray, *, binary: bool) -> tuple[bytes, int | None]:
    tensor = {"name": "X", "shape": list(values.shape), "datatype": "FP32"}
    if not binary:
        return json.dumps({"inputs": [tensor | {"data": values.ravel().tolist()}]}).encode(), None
    tensor["parameters"] = {"binary_data_size": values.nbytes}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return text + values.tobytes(), len(text)


def familiar_with(
    values: np.ndarray = VALUES,
    *,
    binary: bool,
    timeout_s: float | None = None,
    accepted: bytes | None = None,
) -> Familiar:
    """What is kept of a request that was read once."""
    signature = Signature("m", [SPEC], [TensorSpec("Y", "FP32", (-1, 4))], 8)
    body, json_length = body_of(values, binary=binary)
    infer_http.decode(body, json_length, signature, now=1.0)
    kept = kept_for(body, json_length, signature)
    assert kept is not None
    at, layout = kept
    head = Head(Target("m", "", "infer"), Wishes(json_length, timeout_s, accepted, "somebody"), len(body))
    return Familiar(head, HTTP + body[:at], len(HTTP) + len(body), layout, signature)


def answer_of(familiar: Familiar, outputs: dict[str, np.ndarray]) -> bytes:
    """As any other request has it."""
    response = InferResponse("m", "3", outputs)
    length, pieces = infer_http.encode(response, familiar.layout.known.form)
    body = b"".join(pieces)
    return good_head(len(body), length, b"", True) + body


@pytest.mark.parametrize("binary", [True, False])
def test_other_numbers_are_read_out_of_a_familiar_request(binary):
    familiar = familiar_with(binary=binary)
    other = HTTP + body_of(VALUES + 2, binary=binary)[0]
    inputs = familiar.inputs(other)
    assert inputs is not None
    assert inputs["X"].tolist() == (VALUES + 2).tolist()


@pytest.mark.parametrize("binary", [True, False])
def test_an_answer_has_the_bytes_that_any_other_would_have(binary):
    familiar = familiar_with(binary=binary)
    outputs = [VALUES, VALUES * 1.5, np.full((1, 4), np.nan, np.float32), np.repeat(VALUES, 3, 0)]
    outputs += [VALUES.astype(np.int64), np.zeros((0, 4), np.float32), VALUES]
    for array in outputs:
        assert familiar.answer("3", {"Y": array}) == answer_of(familiar, {"Y": array})
    assert familiar.answer("3", {"Z": VALUES}) == answer_of(familiar, {"Z": VALUES})


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("rows", [1, 2])
def test_out_of_a_run_that_others_share_come_the_same_bytes(rows, binary):
    values = np.repeat(VALUES, rows, 0)
    familiar = familiar_with(values, binary=binary)
    wholes = [np.arange(24, dtype=np.float32).reshape(6, 4) * scale for scale in (1, 0.3)]
    wholes += [np.where(np.arange(6)[:, None] == 3, np.float32(np.nan), wholes[0]), wholes[0] * 3]
    for whole in wholes:
        shared = RunOutputs({"Y": whole})
        for at in (0, 3, 2):
            mine = {"Y": whole[at : at + rows]}
            assert familiar.answer_rows("3", shared, at) == answer_of(familiar, mine)
            assert familiar.answer_rows("3", shared, at) == familiar.answer("3", mine)


@pytest.mark.parametrize("binary", [True, False])
def test_of_two_outputs_that_are_shared_who_writes_anything_writes_them(binary):
    familiar = familiar_with(binary=binary)
    for _ in range(2):
        assert familiar.answer_rows("3", RunOutputs({"Y": VALUES, "Z": VALUES}), 0) is None
        assert familiar.answer("3", {"Y": VALUES}) is not None


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    "outputs",
    [
        {"Y": VALUES, "Z": VALUES},
        {"Y": np.array([[b"text"]], dtype=object)},
        {"Y": np.zeros((1, 100_000), np.float32)},
        {"Y": VALUES.astype(np.complex64)},
    ],
    ids=["two", "bytes", "large", "no datatype of ours"],
)
def test_what_takes_more_to_write_is_left_to_who_writes_anything(binary, outputs):
    assert familiar_with(binary=binary).answer("3", outputs) is None


def test_an_answer_that_might_be_packed_is_left_to_who_packs():
    familiar = familiar_with(binary=False, accepted=b"gzip")
    assert familiar.answer("3", {"Y": VALUES}) == answer_of(familiar, {"Y": VALUES})
    assert familiar.answer("3", {"Y": np.zeros((1, WORTH_PACKING), np.float32)}) is None


def test_a_familiar_request_can_be_had_in_the_words_of_every_other():
    request, _ = familiar_with(binary=True, timeout_s=2.0).request({"X": VALUES}, 10.0)
    assert (request.model, request.client, request.deadline) == ("m", "somebody", 12.0)
    assert familiar_with(binary=True).request({}, 10.0)[0].deadline == FOREVER


def test_only_a_whole_request_that_begins_alike_is_familiar():
    kept, familiar = Familiars(), familiar_with(binary=True)
    kept.keep(familiar)
    whole = HTTP + body_of(VALUES + 2, binary=True)[0]
    assert kept.find(whole) is familiar
    assert kept.find(whole + b"x") is None
    assert kept.find(whole[:-1]) is None
    assert kept.find(whole.replace(b"models/m", b"models/n")) is None


def test_what_is_familiar_has_bounds():
    kept, familiar = Familiars(), familiar_with(binary=True)
    for number in range(MOST + 1):
        begin = b"%07d" % number
        kept.keep(Familiar(familiar.head, begin, len(begin) + 16, familiar.layout, familiar.signature))
    assert kept.find(b"%07d" % 0 + bytes(16)) is None
    assert kept.find(b"%07d" % MOST + bytes(16)) is not None
    long = bytes(LONGEST + 1)
    kept.keep(Familiar(familiar.head, long, len(long) + 16, familiar.layout, familiar.signature))
    assert kept.find(long + bytes(16)) is None
