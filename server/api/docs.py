"""The page that shows the OpenAPI document of `server.api.openapi`, and lets people try it.

The page's scripts and styles come from a package on this machine: it works without the internet.
"""

import html
from pathlib import Path

import orjson
import swagger_ui_bundle
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from server.api.openapi import document
from server.domain.catalogue import Catalogue

ASSETS = Path(swagger_ui_bundle.__file__).parent / "vendor"
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
