"""The words that every operation of the OpenAPI document is made of: parameters, answers, refusals."""

from collections.abc import Iterable, Sequence
from typing import Any

Json = dict[str, Any]

_ERROR = "#/components/schemas/Error"
COMPONENTS: Json = {
    "schemas": {
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"type": "string", "minLength": 1}},
        }
    }
}

_REFUSALS = {
    400: "the request is at fault, or what it asks about is not ready",
    404: "there is no such model, version or path",
    413: "the body is larger than the server takes",
    429: "too many requests wait already; Retry-After says when to come back",
    500: "the model, or code of its own, failed",
    501: "understood, and not offered",
    503: "not ready, or not now: the server is stopping, or takes no such orders",
    504: "the request's time ran out before its answer was there",
}

INFERENCE = (400, 404, 413, 429, 500, 503, 504)
"""How any inference may be refused."""
INFER = (*INFERENCE, 501)
"""How infer may be: it also knows of shared memory."""

TIMEOUT: Json = {
    "name": "tercet-timeout-ms",
    "in": "header",
    "description": "milliseconds that the request may take",
    "schema": {"type": "integer", "minimum": 1, "maximum": 9_999_999_999},
}


def operation(
    tag: str,
    summary: str,
    good: Json | None,
    refusals: Iterable[int],
    *,
    parameters: Sequence[Json] = (),
    body: Json | None = None,
    body_required: bool = True,
) -> Json:
    """One verb of one path.

    good   content type -> what comes with status 200; empty for nothing, None where there is no such status
    body   content type -> what is to be sent
    """
    made: Json = {"tags": [tag], "summary": summary}
    if parameters:
        made["parameters"] = list(parameters)
    if body is not None:
        made["requestBody"] = {"required": body_required, "content": body}
    made["responses"] = responses = {}
    if good is not None:
        responses["200"] = {"description": "done", **({"content": good} if good else {})}
    for status in refusals:
        responses[str(status)] = {
            "description": _REFUSALS[status],
            "content": as_json({"$ref": _ERROR}),
        }
    return made


def as_json(schema: Json, example: Any = None) -> Json:
    """Content that is JSON."""
    return {"application/json": {"schema": schema} | ({} if example is None else {"example": example})}


def in_query(name: str, description: str, schema: Json) -> Json:
    """A parameter behind the question mark, which may be left out."""
    return {"name": name, "in": "query", "description": description, "schema": schema}


def in_path(name: str, description: str, among: Iterable[str] = ()) -> Json:
    """A parameter in the path; `among` are the values it has right now, if they are to be chosen from."""
    values = sorted(among)
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1} | ({"enum": values} if values else {}),
    }
