"""What becomes of familiar requests when a server answers them, and the world around them changes."""

import json
import shutil
import socket
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import httpx

from tests.api.test_call_budget import (
    CALLS_PER_REQUEST,
    counted,
    repository,  # noqa: F401  (the model that is asked)
    server_in_this_process,
    wait_until_served,
)

KEY = "the-key"
TENSOR = '{"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": %s}]}'
FLAT = TENSOR % "[0.0, 1.0, 2.0, 3.00]"
OTHER = TENSOR % "[4.0, 1.0, 2.0, 3.00]"
NESTED = TENSOR % "[[0.0, 1.0, 2.0, 3] ]"


def asking(port: int, headers: str = "") -> Callable[[str], tuple[int, dict[str, object]]]:
    """One connection; what is asked over it gives a status and a document."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)

    def ask(body: str) -> tuple[int, dict[str, object]]:
        head = f"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n"
        connection.sendall(f"{head}\r\n{body}".encode())
        answer = connection.recv(65_536)
        status, _, rest = answer.partition(b"\r\n")
        return int(status.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2])

    return ask


def doubled(document: dict[str, object]) -> list[float]:
    return document["outputs"][0]["data"]  # type: ignore[index, no-any-return]


def test_one_that_has_to_be_read_after_all_counts_once_against_its_callers_rate(repository, tmp_path):  # noqa: F811
    keys, entry = tmp_path / "keys.json", {"name": "asker", "sha256": sha256(KEY.encode()).hexdigest()}
    entry |= {"rights": ["inference"], "requests_per_second": 0.001, "burst": 7}
    keys.write_text(json.dumps([entry]))
    more = {"api_keys": str(keys), "anonymous_rights": "inference"}
    with server_in_this_process(repository, more) as (_, ports):
        wait_until_served(ports[0])
        url = f"http://127.0.0.1:{ports[0]}/v2/models/double/infer"
        assert httpx.post(url, content=FLAT, headers={"authorization": f"Bearer {KEY}"}).status_code == 200
        ask = asking(ports[0], f"Authorization: Bearer {KEY}\r\n")
        found = [ask(body) for body in (FLAT, OTHER, FLAT, NESTED, NESTED, NESTED)]
        assert [status for status, _ in found] == [200] * 6
        assert [doubled(document)[0] for _, document in found] == [0.0, 8.0, 0.0, 0.0, 0.0, 0.0]
        assert ask(FLAT)[0] == 429


def test_after_a_new_version_has_come_it_answers_and_is_soon_as_familiar(repository, tmp_path):  # noqa: F811
    models: Path = tmp_path / "models"
    shutil.copytree(repository, models)
    with server_in_this_process(models, {"model_control_mode": "explicit", "load_model": ["*"]}) as (
        loop,
        ports,
    ):
        wait_until_served(ports[0])
        ask = asking(ports[0])
        for _ in range(4):
            assert ask(FLAT)[1]["model_version"] == "1"
        shutil.copytree(models / "double/1", models / "double/2")
        loading = f"http://127.0.0.1:{ports[0]}/v2/repository/models/double/load"
        assert httpx.post(loading, timeout=30).status_code == 200
        for body, first in ((FLAT, 0.0), (OTHER, 8.0), (FLAT, 0.0)):
            document = ask(body)[1]
            assert (document["model_version"], doubled(document)[0]) == ("2", first)
        assert counted(loop, lambda: ask(OTHER)) <= CALLS_PER_REQUEST["json"]
