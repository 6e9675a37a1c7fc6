"""The gate in front of an app that says yes to everything."""

import io
import json
from typing import Any

import pytest

from server.api.http_gate import HttpGate
from server.observe.audit import AuditLog
from server.security.gate import Gate
from server.security.restricted import read_http
from server.wire.codes import CODES


async def yes(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def nothing(*_: Any) -> None: ...


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v2/repository/models/iris/load", "iris"),
        ("/v2/repository/models/models/load", "models"),
        ("/v2/repository/main/models/iris/unload", "iris"),
        ("/v2/repository/models/models/iris/unload", "iris"),
        ("/v2/repository/models/iris/labels", "iris"),
        ("/v2/repository/models/iris/load\n", "iris"),
        ("/v2/models/models/scheduling", "models"),
        ("/v2/models/iris/trace/setting", "iris"),
        ("/v2/logging", ""),
    ],
)
async def test_the_audit_line_names_the_model_that_the_order_is_about(path, model):
    stream = io.StringIO()
    with AuditLog(stream) as audit:
        gate = HttpGate(yes, Gate(None, read_http(())), audit, CODES)
        await gate({"method": "POST", "path": path, "headers": []}, nothing, nothing)
    assert json.loads(stream.getvalue())["model"] == model
