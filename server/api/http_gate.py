"""The gate before what is asked over HTTP beside inference, and the audit line of what is ordered there."""

import re
from typing import Any

from server.api.reply import Table, refuse
from server.domain.errors import ServingError
from server.observe.audit import DENIED, DONE, FAILED, AuditLog
from server.security.caller import ANONYMOUS, Caller
from server.security.calls import http_call
from server.security.gate import Gate
from server.security.rights import Call

UNKNOWN = "unknown"
"""The name of a caller who was stopped."""

MAY_READ = "tercet.may_read"
"""The key of the scope that says whether the caller may hear of models; without it, everybody may."""

_MODEL = re.compile(
    r"/v2/repository/(?:[^/]+/)?models/(?P<stored>[^/]+)/[^/]+|/v2/models/(?P<served>[^/]+)/.+", re.DOTALL
)
"""The paths of orders about a model, which may have any name: `models`, say."""


class HttpGate:
    """An ASGI app in front of another."""

    def __init__(self, app: Any, gate: Gate, audit: AuditLog, codes: Table) -> None:
        self._app = app
        self._gate = gate
        self._audit = audit
        self._codes = codes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        call = http_call(scope["method"], scope["path"])
        caller: Caller | None = None
        if not self._gate.is_open:
            try:
                caller = await self._gate.admit(call, scope["headers"])
            except ServingError as error:
                await self._stop(call, error, scope, send)
                return
            scope[MAY_READ] = self._gate.may_read(scope["headers"])
        if not call.order:
            await self._app(scope, receive, send)
            return
        status = 500

        async def seen(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, seen)
        finally:
            name = ANONYMOUS if caller is None else caller.name
            self._note(call, name, scope, status, DONE if status < 400 else FAILED)

    async def _stop(self, call: Call, error: ServingError, scope: Any, send: Any) -> None:
        status, headers, body = refuse(error, self._codes)
        if call.order:
            self._note(call, getattr(error, "caller", UNKNOWN), scope, status, DENIED)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _note(self, call: Call, caller: str, scope: Any, status: int, outcome: str) -> None:
        found = _MODEL.fullmatch(scope["path"])
        client = scope.get("client")
        self._audit.record(
            caller,
            call.order,
            found["stored"] or found["served"] if found else "",
            "http",
            client[0] if client else "",
            status,
            outcome,
        )
