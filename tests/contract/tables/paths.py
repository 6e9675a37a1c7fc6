"""Paths that name nothing, names and versions that are not served, and methods that a path does not have."""

from collections.abc import Iterator

from tests.contract.line import request, to_model
from tests.contract.models import BROKEN
from tests.contract.rows import Rest
from tests.contract.tables.bodies import text

NOWHERE = (
    "/v3",
    "/v2/",
    "/V2",
    "//v2",
    "/v2/health",
    "/v2/health/",
    "/v2/health/alive",
    "/v2/nothing",
    "/v2/models/",
    "/v2/models//infer",
    "/v2/models//predict",
    "/v2/models//generate",
    "/v2/models//generate_stream",
    "/v2/models/generate/stream",
    "/v2/models/double/generate/",
    "/v2/models/double/generate_stream/1",
    "/v2/models/double/",
    "/v2/models/double/nothing",
    "/v2/models/double/infer/",
    "/v2/models/double/infer/more",
    "/v2/models/double/versions",
    "/v2/models/double/versions/",
    "/v2/models/double/versions//infer",
    "/v2/models/double/versions/1/nothing",
    "/v2/models/double/versions/1/versions/1/infer",
    "/v2/models/a/b/infer",
    "/v2/models/../../etc/passwd",
    "/v2/models/..%2f..%2fetc%2fpasswd",
    "/v2/models/..%2f..%2fetc%2fpasswd/infer",
    "/v2/models/..%2fdouble/predict",
    "/v1",
    "/v1/",
    "/v1/models/",
    "/v1/models/double/",
    "/v1/models/double/predict",
    "/v1/models/double/:predict",
    "/v1/models/:predict/double",
    "/v1/models/a/b:predict",
    "/v1/models/double/versions/1",
    "/v1/models/double/versions/:predict",
    "/v2/repository",
    "/v2/repository/models",
    "/v2/repository/models/double",
    "/v2/repository/models/..%2f..%2fdouble/load",
    "/v2/repository/models//unload",
    "/v2/models/double/versions/1/trace/setting",
    "/v2/models/double/versions/1/scheduling",
    "/v2/models/double/scheduling/",
    "/v2/logging/",
    "/v2/trace",
    "/v2/systemsharedmemory",
    "/v2/systemsharedmemory/region/r",
    "/v2/cudasharedmemory/region//status",
    "/docs/",
    "/redoc",
    "/metrics",
    "*",
    "/%",
    "/%zz",
    "/%ff%fe",
    "/%00",
    "/" + "long" * 2000,
)

NO_FILES = (
    "nothing.js",
    "../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/docs.py",
    "/etc/passwd",
    "swagger-ui.css%00",
)
"""Beneath /docs/assets, whose files are the only ones that the server gives out."""

KNOWN = {
    "/": "GET",
    "/v2": "GET",
    "/v2/health/live": "GET",
    "/v2/health/ready": "GET",
    "/v2/models": "GET",
    "/v2/models/stats": "GET",
    "/v2/models/double": "GET",
    "/v2/models/double/config": "GET",
    "/v2/models/double/ready": "GET",
    "/v2/models/double/stats": "GET",
    "/v2/models/double/infer": "POST",
    "/v2/models/double/predict": "POST",
    "/v2/models/double/generate": "POST",
    "/v2/models/double/generate_stream": "POST",
    "/v2/models/double/versions/1": "GET",
    "/v2/models/double/versions/1/config": "GET",
    "/v2/models/double/versions/1/ready": "GET",
    "/v2/models/double/versions/1/stats": "GET",
    "/v2/models/double/versions/1/infer": "POST",
    "/v2/models/double/versions/1/predict": "POST",
    "/v2/models/double/versions/1/generate": "POST",
    "/v2/models/double/versions/1/generate_stream": "POST",
    "/v1/models": "GET",
    "/v1/models/double": "GET",
    "/v1/models/double:predict": "POST",
    "/v1/models/double/versions/1:predict": "POST",
    "/v2/repository/index": "POST",
    "/v2/repository/models/double/load": "POST",
    "/v2/repository/models/double/unload": "POST",
    "/v2/repository/events": "GET",
    "/v2/repository/models/double/versions": "GET",
    "/v2/repository/models/double/labels": "GET, POST",
    "/v2/logging": "GET, POST",
    "/v2/trace/setting": "GET, POST",
    "/v2/models/double/trace/setting": "GET, POST",
    "/v2/models/double/scheduling": "GET, POST",
    "/v2/systemsharedmemory/status": "GET",
    "/v2/systemsharedmemory/region/r/status": "GET",
    "/v2/systemsharedmemory/region/r/register": "POST",
    "/v2/systemsharedmemory/region/r/unregister": "POST",
    "/v2/systemsharedmemory/unregister": "POST",
    "/v2/cudasharedmemory/status": "GET",
    "/v2/cudasharedmemory/region/r/status": "GET",
    "/v2/cudasharedmemory/region/r/register": "POST",
    "/v2/cudasharedmemory/region/r/unregister": "POST",
    "/v2/cudasharedmemory/unregister": "POST",
    "/docs": "GET",
    "/openapi.json": "GET",
}
"""Every path, with its methods."""

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND")

NOT_NUMBERS = ("abc", "-1", "+1", "1.0", "1e0", "0x1", "%201", "1%20", "%D9%A1", "latest", "1,2", "%00")
"""Versions as they stand in a URL; the ninth is an Arabic one."""

VERBS = ("/infer", "/predict", "/generate", "/generate_stream")
ASKED_OF_A_VERSION = ("", "/config", "/stats", "/ready", *VERBS)


def rows() -> Iterator[Rest]:
    for path in NOWHERE:
        for method in ("GET", "POST"):
            body = text() if method == "POST" else b""
            sent = request(path, body, method=method)
            yield Rest(f"nowhere: {method} {path:.60}", sent, 404, "there is nothing at ", method)
    for name in NO_FILES:
        path = f"/docs/assets/{name}"
        yield Rest(f"nowhere: {path}", request(path, method="GET"), 404, "there is nothing at /docs/assets")
    for path, own in KNOWN.items():
        for method in METHODS:
            if method not in own.split(", "):
                says = f"{method} is not allowed on {path}; use {own}"
                yield Rest(f"method: {method} {path}", request(path, method=method), 405, says, method)
    for model in ("nobody", BROKEN, "double/versions/77"):
        named = model.partition("/")[0]
        path, says = f"/v1/models/{model}:predict", f"Request for unknown model: '{named}'"
        yield Rest(f"not served: {path}", request(path, b'{"instances": [1]}'), 404, says)
    sent = request("/v1/models/nobody", method="GET")
    yield Rest("not served: /v1/models/nobody", sent, 404, "Request for unknown model: 'nobody'", "GET")
    sent = request("/v1/models/double:explain", b'{"instances": [1]}')
    yield Rest("explain", sent, 501, "explanations are not offered")
    path, says = "/v2/models/nobody/scheduling", "Request for unknown model: 'nobody'"
    yield Rest(f"not served: GET {path}", request(path, method="GET"), 404, says, "GET")
    yield Rest(f"not served: POST {path}", request(path, b"{}"), 404, says)
    for path in ("labels", "versions"):
        path = f"/v2/repository/models/nobody/{path}"
        yield Rest(f"not served: GET {path}", request(path, method="GET"), 404, says, "GET")
    for version in NOT_NUMBERS:
        for asked in ASKED_OF_A_VERSION:
            yield _of_model(f"double/versions/{version}{asked}", 404, "failed to get model version from")
        path = f"/v1/models/double/versions/{version}:predict"
        yield Rest(f"not served: {path}", request(path, b"{}"), 404, "failed to get model version from")
    yield from _not_served("nobody", "'nobody'")
    yield from _not_served("double/versions/77", "'double'")
    yield from _not_served(BROKEN, "'broken'")
    for path in ("local/index", "local/models/double/load", "local/models/double/unload"):
        says = "naming a repository ('local') is not supported"
        yield Rest(f"repository: {path}", request(f"/v2/repository/{path}"), 501, says)


def _not_served(path: str, named: str) -> Iterator[Rest]:
    """A model or version that is unknown or does not serve, as a running Triton answers."""
    for asked in ("", "/config", *VERBS):
        yield _of_model(path + asked, 404, f"Request for unknown model: {named}")
    yield _of_model(path + "/ready", 400, f"Request for unknown model: {named}")
    yield _of_model(path + "/stats", 400, f"requested model {named} is not available")


def _of_model(path: str, status: int, says: str) -> Rest:
    asking = path.endswith(VERBS)
    method = "POST" if asking else "GET"
    sent = request(to_model("") + path, text() if asking else b"", method=method)
    return Rest(f"not served: {path}", sent, status, says, method)
