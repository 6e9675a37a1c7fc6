"""The operations by which one model is asked, each with that model's own schemas and examples."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson

from server.api.operation import INFER, INFERENCE, TIMEOUT, Json, as_json, operation
from server.domain.catalogue import VersionFacts
from server.domain.errors import InvalidRequest
from server.domain.request import InferResponse
from server.wire import plain, plain_schema, schema
from server.wire.golden import GoldenExample

LONGEST_EXAMPLE = 16_384
"""Bytes of JSON that a page shows as an example."""

HEADER_LENGTH: Json = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "bytes of JSON before the tensors, where tensors follow as bytes",
    "schema": {"type": "integer", "minimum": 0},
}
FILE: Json = {"schema": {"type": "string", "format": "binary"}}
TENSORS: Json = {"application/octet-stream": FILE}
"""Content that is JSON, and behind it tensors as bytes."""
EVENTS: Json = {"text/event-stream": {"schema": {"description": "events, with one JSON object each"}}}


def model_operations(facts: VersionFacts) -> Iterator[tuple[str, Json]]:
    """The paths of a model that is asked without a version, and what each takes and gives."""
    name = quote(facts.model, safe="")
    golden = _golden(facts)
    row = _first_row(facts, golden) if golden else plain_schema.row_example(facts.signature)
    yield f"/v2/models/{name}/predict", {"post": _predict(facts, row)}
    yield f"/v2/models/{name}/infer", {"post": _infer(facts, golden)}
    generated = as_json(plain_schema.generate_answer_schema(facts.signature))
    yield f"/v2/models/{name}/generate", {"post": _generate(facts, row, generated)}
    yield f"/v2/models/{name}/generate_stream", {"post": _generate(facts, row, EVENTS, ", for events")}
    yield f"/v1/models/{name}:predict", {"post": _v1(facts, row)}


def _predict(facts: VersionFacts, row: Any) -> Json:
    signature = facts.signature
    content = as_json(plain_schema.predict_request_schema(signature), row)
    summary = f"Ask {facts.model} in plain JSON"
    if len(signature.inputs) == 1 and signature.inputs[0].datatype == "BYTES":
        content = {"image/png": FILE, "image/jpeg": FILE, "application/octet-stream": FILE, **content}
        summary += ", or with a file"
    good = as_json(
        plain_schema.predict_answer_schema(signature), plain_schema.predict_answer_example(signature)
    )
    return operation(facts.model, summary, good, INFERENCE, parameters=[TIMEOUT], body=content)


def _infer(facts: VersionFacts, golden: GoldenExample | None) -> Json:
    signature = facts.signature
    example = golden.request if golden else schema.infer_request_example(signature)
    return operation(
        facts.model,
        f"Ask {facts.model} by the Open Inference Protocol",
        {**as_json(schema.infer_response_schema(signature)), **TENSORS},
        INFER,
        parameters=[TIMEOUT, HEADER_LENGTH],
        body={**as_json(schema.infer_request_schema(signature), example), **TENSORS},
    )


def _generate(facts: VersionFacts, row: Any, good: Json, how: str = "") -> Json:
    return operation(
        facts.model,
        f"Ask {facts.model} by Triton's generate extension{how}",
        good,
        INFERENCE,
        parameters=[TIMEOUT],
        body=as_json(plain_schema.generate_request_schema(facts.signature), row),
    )


def _v1(facts: VersionFacts, row: Any) -> Json:
    return operation(
        facts.model,
        f"Ask {facts.model} by KServe's V1 protocol",
        as_json(plain_schema.v1_answer_schema(facts.signature)),
        INFERENCE,
        parameters=[TIMEOUT],
        body=as_json(plain_schema.v1_request_schema(facts.signature), {"instances": [row]}),
    )


def _golden(facts: VersionFacts) -> GoldenExample | None:
    """The shortest golden example: a question that has an answer. None if there is none to show."""
    lengths: dict[int, GoldenExample] = {
        len(orjson.dumps(example.request)): example for example in facts.examples if _fits(facts, example)
    }
    shortest = min(lengths, default=0)
    return lengths[shortest] if 0 < shortest <= LONGEST_EXAMPLE else None


def _fits(facts: VersionFacts, example: GoldenExample) -> bool:
    try:
        return facts.signature.rows(example.inputs) > 0
    except InvalidRequest:
        return False


def _first_row(facts: VersionFacts, golden: GoldenExample) -> Any:
    """The question as a plain object."""
    batched = facts.signature.max_batch_size > 0
    row = {name: array[:1] if batched else array for name, array in golden.inputs.items()}
    return orjson.loads(plain.encode(InferResponse(facts.model, str(facts.version), row), False, batched))
