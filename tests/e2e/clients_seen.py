"""The server, with a line on stderr for each request: python -m tests.e2e.clients_seen serve …"""

import os
import sys
from collections.abc import Callable
from typing import Any

from server import cli
from server.stages.route import Route


def noted(way: Callable[..., Any]) -> Callable[..., Any]:
    def ask(route: Route, served: Any, request: Any, *more: Any) -> Any:
        os.write(2, f"seen: {request.id}={request.client}\n".encode())  # whole, whoever else writes
        return way(route, served, request, *more)

    return ask


Route.begin, Route.infer = noted(Route.begin), noted(Route.infer)  # type: ignore[method-assign]
sys.exit(cli.main())
