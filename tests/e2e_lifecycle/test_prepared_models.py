"""A large model that is not in memory is prepared, and opened so from then on, also by the next server."""

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.e2e.workshop import FLOAT, put, value, written
from tests.server_process import Server, running

WIDE = 2304
"""Of a square of numbers of 20 MiB."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    square = np.random.default_rng(0).standard_normal((WIDE, WIDE)).astype(np.float32)
    model = written(
        [helper.make_node("MatMul", ["x", "square"], ["y"])],
        [value("x", FLOAT, "n", WIDE)],
        [value("y", FLOAT, "n", WIDE)],
        square=square,
    )
    put(folder / "models", "large", model)
    return folder


def serving(ground: Path, log: str, *options: str) -> AbstractContextManager[Server]:
    options = (f"--state-dir={ground / 'state'}", "--verify-models=true", "--load-on-request=true", *options)
    return running(ground / log, ground / "models", options=options)


def ask(server: Server) -> list[float]:
    row = [1.0, -0.5] * (WIDE // 2)
    body = {"inputs": [{"name": "x", "shape": [1, WIDE], "datatype": "FP32", "data": row}]}
    answer = server.client.post("/v2/models/large/infer", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"]


def has_mapped(server: Server, ground: Path) -> bool:
    return str(ground / "state" / "prepared") in Path(f"/proc/{server.pid}/maps").read_text()


def is_loaded(server: Server) -> bool:
    lines = server.client.post("/v2/repository/index").json()
    return not any(line["name"] == "large" and line.get("loaded") is False for line in lines)


def test_a_large_model_is_prepared_while_nobody_asks_and_so_opened(ground):
    with serving(ground, "file.log", "--prepared-models-bytes=0") as server:
        from_file = ask(server)
        assert not has_mapped(server, ground)
    with serving(ground, "first.log", "--idle-unload-secs=0.2") as server:
        server.until(lambda: "model_prepared" in server.log, within_s=90)
        assert not is_loaded(server), "nobody has asked for it yet"
        for _ in range(2):
            assert ask(server) == from_file
            server.until(lambda: not is_loaded(server))
        assert server.log.count("model_prepared") == 1
        assert "prepared_model_not_opened" not in server.log
    with serving(ground, "second.log") as server:
        assert not is_loaded(server)
        assert ask(server) == from_file
        assert has_mapped(server, ground)
