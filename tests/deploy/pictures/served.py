"""All that is served for the pictures: one process that does all, one of each tier, and a fleet of one."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.e2e.workshop import ONE_BY_ONE, PICKY_POST, PICKY_PRE, attentive, put, slow, times
from tests.e2e_lifecycle.test_residency import heavy
from tests.server_process import ROOT, Server, running
from tests.supervisor.test_up import Up, up
from tests.tier_processes import Tiers, in_tiers

HEAVY = 6
"""Models of 2 MiB each, of which the budget holds some."""

PADDED = """
max_batch_size: 8
dynamic_batching { }
parameters { key: "tercet.pad_buckets" value: { string_value: "8,16" } }
parameters { key: "tercet.pad_mask_input" value: { string_value: "mask" } }
"""

PROMPT = """
max_batch_size: 8
parameters { key: "latency_target_ms" value: { string_value: "500" } }
"""


@dataclass(frozen=True)
class Served:
    fused: Server
    tiers: Tiers
    fleet: Up

    @property
    def jobs(self) -> dict[str, list[str]]:
        return {
            "fused": [self.fused.metrics],
            "tiers": [server.metrics for server in self.tiers.all],
            "fleet": [self.fleet.view],
        }

    def ask(self) -> None:
        """One round of all that happens to a server, refusals among it."""
        for number in range(HEAVY):
            self._infer(self.fused, f"m{number}", numbers("x", [[0, 0]]))
        self._infer(self.fused, "prompt", numbers("x", [[1]]), status=0)
        self._infer(self.fused, "encoder", *words([1, 2, 3]))
        for server in (self.fused, self.tiers.gateway[0]):
            self._infer(server, "picky", numbers("x", [[1]]))
            self._infer(server, "picky", numbers("x", [[1000]]), status=500)
        self._infer(self.fused, "nobody", status=404)
        self._crowd()

    def _crowd(self) -> None:
        """More at once than may wait."""
        visitors = [
            threading.Thread(target=self._infer, args=(self.fused, "slow", rounds(200)), kwargs={"status": 0})
            for _ in range(12)
        ]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()

    def _infer(self, server: Server, model: str, *inputs: dict[str, Any], status: int = 200) -> None:
        """`status` 0 takes any."""
        answer = server.client.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
        assert answer.status_code == status or not status, answer.text


def numbers(name: str, rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    data = [value for row in rows for value in row]
    return {"name": name, "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": data}


def rounds(count: int) -> dict[str, Any]:
    return {"name": "rounds", "shape": [1, 1], "datatype": "INT64", "data": [count]}


def words(ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    for name, data in (("ids", ids), ("mask", [1] * len(ids))):
        yield {"name": name, "shape": [1, len(ids)], "datatype": "INT64", "data": list(data)}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Until the block is left."""
    models, remote, tiered = (folder / name for name in ("models", "remote", "tiered"))
    for number in range(HEAVY):
        put(models, f"m{number}", heavy(number))
    put(models, "encoder", attentive(), PADDED)
    put(models, "slow", slow(), ONE_BY_ONE)
    put(models, "prompt", times(2, 1), PROMPT)
    put(models, "broken", b"no model at all")
    for repository in (models, tiered):
        put(repository, "picky", times(2, 1), "max_batch_size: 8", pre_py=PICKY_PRE, post_py=PICKY_POST)
    put(remote, "afar", times(2, 1))
    options = [
        *("--memory-budget=cpu=9MiB", "--min-residency-secs=0.01"),
        *("--strict-readiness=false", f"--model-cache-dir={folder / 'cache'}"),
    ]
    with (
        web(remote) as address,
        running(folder / "fused.log", models, address, options=options, wait=False) as fused,
        in_tiers(folder, tiered) as tiers,
        up(folder / "fleet", count=1) as fleet,
    ):
        for model in (
            "picky",
            "slow",
            "prompt",
            "encoder",
            "afar",
            *(f"m{number}" for number in range(HEAVY)),
        ):
            path = f"/v2/models/{model}/ready"
            fused.until(lambda path=path: fused.ready() and fused.client.get(path).is_success, within_s=120)
        yield Served(fused, tiers, fleet)


@contextmanager
def web(repository: Path) -> Iterator[str]:
    """The repository as a web server gives it; its address."""
    command = [sys.executable, "-m", "server.cli", "manifest", str(repository), "--index"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(repository)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
