"""What a test asks a server about one model, and what it reads in its log (`--log-format=json`)."""

import json
from typing import Any

import httpx

from tests.server_process import Server


def asked(server: Server, model: str, version: str = "") -> httpx.Response:
    """Ask a model y = x + amount for 0."""
    path = f"/v2/models/{model}/versions/{version}/infer" if version else f"/v2/models/{model}/infer"
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0, 0]}
    return server.client.post(path, json={"inputs": [tensor]})


def answer(server: Server, model: str, version: str = "") -> float | None:
    """Its amount; None if the model does not answer."""
    response = asked(server, model, version)
    return response.json()["outputs"][0]["data"][0] if response.status_code == 200 else None


def events(server: Server, event: str, **facts: object) -> list[dict[str, Any]]:
    """The lines of the log that tell of this event with these facts; each comes a little after the event."""
    whole, _, _ = server.log.rpartition("\n")
    lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    return [
        line for line in lines if line["event"] == event and all(line.get(key) == facts[key] for key in facts)
    ]


def loads(server: Server, model: str) -> int:
    """How often a version of this model was begun to load."""
    return len(events(server, "version_loading", model=model))
