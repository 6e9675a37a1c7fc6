"""JSON of every kind over HTTP, where a request, a plain object or an order is due."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.line import request, to_model
from tests.contract.rows import Asker
from tests.fuzz.accidents import INPUTS, MODELS, VALUES, mutated
from tests.fuzz.harm import NOT_LOADED, is_sound

many = settings(settings.get_profile("fuzz"))

VERBS = ("infer", "predict", "generate", "generate_stream")
LENGTHS = st.none() | st.integers(0, 80).map(str) | st.from_regex(r"[ -~]{0,8}", fullmatch=True)


@many
@given(st.sampled_from(MODELS), st.sampled_from(VERBS), st.binary(max_size=80), LENGTHS)
def test_any_bytes_with_any_header_length(
    asker: Asker, model: str, verb: str, body: bytes, length: str | None
):
    headers = [] if length is None else [f"Inference-Header-Content-Length: {length}"]
    assert is_sound(asker.rest(request(to_model(model, verb), body, *headers)))


@many
@given(st.data(), st.sampled_from(MODELS), st.binary(max_size=20))
def test_any_document_that_is_nearly_a_request(asker: Asker, data: st.DataObject, model: str, tail: bytes):
    text = data.draw(mutated(model))
    path = to_model(model, "infer")
    assert is_sound(asker.rest(request(path, text)))
    in_bytes = request(path, text + tail, f"Inference-Header-Content-Length: {len(text)}")
    assert is_sound(asker.rest(in_bytes))


@many
@given(st.sampled_from(MODELS), VALUES)
def test_any_document_where_a_plain_object_is_due(asker: Asker, model: str, value: Any):
    named = {tensor.name: value for tensor in INPUTS[model]}
    for document in (value, named, [named, value], {"instances": value}):
        assert is_sound(asker.rest(request(to_model(model, "predict"), json.dumps(document).encode())))


@many
@given(st.sampled_from(MODELS), VALUES)
def test_any_document_where_instances_or_a_prompt_are_due(asker: Asker, model: str, value: Any):
    named = {tensor.name: value for tensor in INPUTS[model]}
    for instances in (value, [value], [named, value]):
        body = json.dumps({"instances": instances}).encode()
        assert is_sound(asker.rest(request(f"/v1/models/{model}:predict", body)))
    for document in (value, named, {**named, "id": value}, {**named, "parameters": value}):
        assert is_sound(asker.rest(request(to_model(model, "generate"), json.dumps(document).encode())))


@many
@given(st.sampled_from(["index", "models/nobody/unload", "models/nobody/load", "models/broken/load"]), VALUES)
def test_any_document_where_an_order_is_due(asker: Asker, order: str, value: Any):
    for document in (value, {"ready": value}, {"parameters": value}, {"parameters": {"config": value}}):
        answer = asker.rest(request(f"/v2/repository/{order}", json.dumps(document).encode()))
        assert answer.status in (200, 400, 500)
        if answer.status == 500:
            assert answer.error.startswith(NOT_LOADED)
