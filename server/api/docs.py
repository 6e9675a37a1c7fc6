"""The OpenAPI document of the models that are served right now, and the page that shows it.

The page's scripts and styles come from a package on this machine: it works without the internet.
"""

import html
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import swagger_ui_bundle
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from server.domain.catalogue import Catalogue, VersionFacts
from server.domain.errors import InvalidRequest
from server.domain.request import InferResponse
from server.wire import plain, schema
from server.wire.golden import GoldenExample

ASSETS = Path(swagger_ui_bundle.__file__).parent / "vendor"
LONGEST_EXAMPLE = 16_384
"""Bytes of JSON that a page shows as an example."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/assets/favicon-32x32.png">
</head>
<body>
<div id="models"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({{url: "/openapi.json", dom_id: "#models", tryItOutEnabled: true,
                 defaultModelsExpandDepth: -1}});
</script>
</body>
</html>
"""


def add_docs(app: FastAPI, catalogue: Catalogue, version: str) -> None:
    """`/docs` and `/openapi.json`, made anew each time they are asked for."""
    assets = next(ASSETS.glob("swagger-ui-*"))
    app.mount("/docs/assets", StaticFiles(directory=assets), name="docs-assets")

    @app.get("/docs")
    async def docs() -> Response:
        return HTMLResponse(PAGE.format(title=html.escape("Tercet: the served models")))

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return Response(orjson.dumps(document(catalogue, version)), media_type="application/json")


def document(catalogue: Catalogue, version: str) -> dict[str, Any]:
    """OpenAPI 3.0: the two ways of asking each model, by its highest version, and the server's own calls."""
    paths: dict[str, Any] = {}
    highest: dict[str, VersionFacts] = {facts.model: facts for facts in catalogue.all_facts()}
    for model, facts in highest.items():
        base = f"/v2/models/{quote(model, safe='')}"
        paths[f"{base}/predict"] = {"post": _predict(facts)}
        paths[f"{base}/infer"] = {"post": _infer(facts)}
    for path, (verb, text) in _SERVER_PATHS.items():
        paths[path] = {verb: _plain_operation(text, path)}
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "Tercet",
            "version": version,
            "description": "The models that are served now, and the Open Inference Protocol.",
        },
        "paths": paths,
    }


_SERVER_PATHS: dict[str, tuple[str, str]] = {
    "/v2": ("get", "The server's name, version and extensions"),
    "/v2/health/live": ("get", "Whether the process is up"),
    "/v2/health/ready": ("get", "Whether it serves what it has to"),
    "/v2/models": ("get", "The names of the models that serve"),
    "/v2/models/{model}": ("get", "A model's inputs and outputs"),
    "/v2/models/{model}/config": ("get", "A model's configuration in force"),
    "/v2/models/{model}/ready": ("get", "Whether a model serves"),
    "/v2/models/{model}/stats": ("get", "What a model has done so far"),
    "/v2/models/stats": ("get", "What all models have done so far"),
    "/v2/repository/index": ("post", "Every model that is known, with its state"),
    "/v2/repository/models/{model}/load": ("post", "Serve a model (control mode explicit)"),
    "/v2/repository/models/{model}/unload": ("post", "Serve a model no longer (control mode explicit)"),
}

_ERROR = {
    "description": "refused, in a sentence",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
        }
    },
}


def _plain_operation(text: str, path: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": ["server"],
        "summary": text,
        "responses": {"200": {"description": "done"}, "default": _ERROR},
    }
    if "{model}" in path:
        operation["parameters"] = [
            {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return operation


def _predict(facts: VersionFacts) -> dict[str, Any]:
    signature = facts.signature
    golden = _golden(facts)
    content: dict[str, Any] = {
        "application/json": {
            "schema": schema.plain_request_schema(signature),
            "example": _first_row(facts, golden) if golden else schema.plain_request_example(signature),
        }
    }
    summary = f"Ask {facts.model} in plain JSON"
    if len(signature.inputs) == 1 and signature.inputs[0].datatype == "BYTES":
        file = {"schema": {"type": "string", "format": "binary"}}
        content = {"image/png": file, "image/jpeg": file, "application/octet-stream": file, **content}
        summary += ", or with a file"
    return {
        "tags": [facts.model],
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {
                "description": "the answer, one object for each row",
                "content": {
                    "application/json": {
                        "schema": schema.plain_answer_schema(signature),
                        "example": schema.plain_answer_example(signature),
                    }
                },
            },
            "default": _ERROR,
        },
    }


def _infer(facts: VersionFacts) -> dict[str, Any]:
    signature = facts.signature
    golden = _golden(facts)
    return {
        "tags": [facts.model],
        "summary": f"Ask {facts.model} by the Open Inference Protocol",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": schema.infer_request_schema(signature),
                    "example": golden.request if golden else schema.infer_request_example(signature),
                }
            },
        },
        "responses": {
            "200": {
                "description": "the outputs",
                "content": {"application/json": {"schema": schema.infer_response_schema(signature)}},
            },
            "default": _ERROR,
        },
    }


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
