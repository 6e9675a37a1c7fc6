"""What a server has written down of the orders to it."""

import json
from typing import Any

from tests.server_process import Server


def audit(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.splitlines() if line.startswith('{"event":"audit"')]
