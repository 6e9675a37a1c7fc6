"""Many real models on a live server whose memory has room for a tenth of them, under Zipf traffic.

A request for a model that is not in memory waits for its load, within its own deadline; nothing else may
fail. What was a hit is told by the server's own count of requests that found their model cold.
"""

import asyncio
import http.client
import itertools
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks.call import HOST
from benchmarks.lifecycle.policies import Lru, key_of
from benchmarks.lifecycle.replay import best_fixed_set, replay
from benchmarks.lifecycle.zipf import equal
from benchmarks.promises import Promise
from benchmarks.sample import percentile
from benchmarks.server_under_test import ServerUnderTest, tercet
from server.lifecycle.ending import Limits
from server.lifecycle.residency.estimate import estimate
from server.lifecycle.residency.eviction import GreedyDual
from server.lifecycle.trials import Trials
from server.lifecycle.verdicts import Verdicts
from server.repository.scanner import Scanner

SEED = 20261121
RATE = 25.0
"""Requests a second, at times that are seeded too: few enough for the loads that they need. Clients that ask
again at once would all wait for loads, always, and measure how fast a machine loads.
"""

CLIENTS = 32
"""At most so many requests are under way."""

DEADLINE_MS = 10_000
TOO_LATE = 504
"""The status of a request whose deadline passed."""

SPARE = 0.5
"""Of one model's memory, over the room for whole ones: twins are measured a little differently."""

COLD = "tercet_cold_requests_total"
"""Requests that found their model not in memory, as the server counts them."""

ROWS, WIDTH = 1024, 1024
CONFIG = "max_batch_size: 1\ninstance_group [{ kind: KIND_CPU count: 1 }]\n"
QUESTION = b'{"inputs": [{"name": "row", "shape": [1, 1], "datatype": "INT64", "data": [0]}]}'


class NoBudget(Exception):
    """Nobody can tell what a budget for so many models is: the sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdFigures:
    """
    budget_bytes      for so many models as there is room for
    too_late          requests that were refused as their deadline passed
    failed            requests that failed otherwise, by what was said
    cold              requests that found their model not in memory; None if the server does not count them
    replayed, lru, fixed   hit rates of the same requests in turn, replayed without a server
    """

    models: int
    room_for: int
    budget_bytes: int
    seconds: float
    requests: int
    too_late: int
    failed: dict[str, int]
    cold: int | None
    p50_ms: float
    p99_ms: float
    replayed: float
    lru: float
    fixed: float

    @property
    def hit_rate(self) -> float | None:
        return None if self.cold is None or not self.requests else 1 - self.cold / self.requests


def lay_crowd(repository: Path, models: int) -> None:
    """Tables of 4 MiB, each with content of its own."""
    for number in range(models):
        name, _ = key_of(number)
        folder = repository / name / "1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(_table(number))
        (folder.parent / "config.pbtxt").write_text(CONFIG)


def measure_crowd(*, models: int, room_for: int, seconds: float) -> CrowdFigures:
    """Raises `NoBudget`, `ServerFailed` or `NotTold`."""
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
        repository, log = Path(scratch) / "repository", Path(scratch) / "log"
        lay_crowd(repository, models)
        one = asyncio.run(_needs_of_one(repository))
        budget = int(one * (room_for + SPARE))
        trace = replace(equal(models=models, room_for=room_for, requests=1_000_000, seed=SEED), budget=budget)
        with tercet(repository, log, [f"--memory-budget=cpu={budget}"]) as server:
            seen = _drive(server, trace.requests, seconds)
            cold = _sum(server.metrics(), COLD)
    asked = replace(trace, sizes=[one] * models, requests=seen.asked)
    return CrowdFigures(
        models=models,
        room_for=room_for,
        budget_bytes=budget,
        seconds=seconds,
        requests=len(seen.asked),
        too_late=seen.too_late,
        failed=dict(seen.failed),
        cold=cold,
        p50_ms=percentile(sorted(seen.answered_ms), 0.5),
        p99_ms=percentile(sorted(seen.answered_ms), 0.99),
        replayed=replay(asked, GreedyDual()).hit_rate,
        lru=replay(asked, Lru()).hit_rate,
        fixed=best_fixed_set(asked).hit_rate,
    )


def lines(figures: CrowdFigures) -> Iterator[str]:
    hit = "not told" if figures.hit_rate is None else f"{figures.hit_rate:.1%}"
    yield (
        f"{figures.requests} requests in {figures.seconds:.0f} s, p50 {figures.p50_ms:.1f} ms, "
        f"p99 {figures.p99_ms:.0f} ms; {figures.too_late} too late, {sum(figures.failed.values())} failed"
    )
    yield (
        f"hit rate {hit}; of the same requests in turn {figures.replayed:.1%}, with LRU {figures.lru:.1%}, "
        f"of the best fixed set {figures.fixed:.1%}"
    )
    for said, count in figures.failed.items():
        yield f"{count} failed: {said}"


def _against_lru(figures: CrowdFigures) -> float | None:
    return None if figures.hit_rate is None else figures.hit_rate / figures.lru


def _against_fixed(figures: CrowdFigures) -> float | None:
    return None if figures.hit_rate is None else figures.hit_rate / figures.fixed


PROMISES: tuple[Promise[CrowdFigures], ...] = (
    Promise(
        name="live, room for a tenth of the models: failed requests",
        figure=lambda f: sum(f.failed.values()),
        form=".0f",
        at_most=0,
    ),
    Promise(name="live: hit rate over LRU's on its requests", figure=_against_lru, form=".2f", at_least=1.2),
    Promise(
        name="live: hit rate over the best fixed set's", figure=_against_fixed, form=".3f", at_least=0.88
    ),
)


class _Seen:
    """What all clients saw together; written by their threads, each append and count in one step."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.answered_ms: list[float] = []
        self.too_late = 0
        self.failed: Counter[str] = Counter()
        self.lock = threading.Lock()


def _drive(server: ServerUnderTest, requests: Sequence[int], seconds: float) -> _Seen:
    """Whichever client is free sends the next request when it is due; all are of one sequence."""
    seen, began = _Seen(), time.monotonic()
    due = itertools.takewhile(
        lambda arrival: arrival[0] < began + seconds,
        zip(_arrivals(began), requests, strict=False),
    )
    clients = [threading.Thread(target=_client, args=(server.http_port, due, seen)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return seen


def _arrivals(began: float) -> Iterator[float]:
    chance = random.Random(SEED)
    while True:
        began += chance.expovariate(RATE)
        yield began


def _client(port: int, due: Iterator[tuple[float, int]], seen: _Seen) -> None:
    with closing(http.client.HTTPConnection(HOST, port, timeout=3 * DEADLINE_MS / 1e3)) as connection:
        while True:
            with seen.lock:
                at, number = next(due, (0.0, -1))
                if number < 0:
                    return
                seen.asked.append(number)
            time.sleep(max(0.0, at - time.monotonic()))
            status, said = _ask(connection, number)
            with seen.lock:
                if status == 200:
                    seen.answered_ms.append(1e3 * (time.monotonic() - at))
                elif status == TOO_LATE:
                    seen.too_late += 1
                else:
                    seen.failed[f"{status} {said}"] += 1


def _ask(connection: http.client.HTTPConnection, number: int) -> tuple[int, str]:
    """The status and, of a failure, what was said; status 0 where nobody answered."""
    name, _ = key_of(number)
    try:
        headers = {"tercet-timeout-ms": str(DEADLINE_MS)}
        connection.request("POST", f"/v2/models/{name}/infer", QUESTION, headers)
        response = connection.getresponse()
        return response.status, response.read()[:200].decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return 0, type(error).__name__


async def _needs_of_one(repository: Path) -> int:
    """What the server reserves for one of these models. Raises `NoBudget`."""
    offers = Scanner([repository], settle_s=0).scan().offers
    offer = next(iter(offers.values()))
    trials = Trials(Verdicts(), limits=Limits(timeout_s=60, memory_bytes=2**31), at_once=1)
    try:
        verdict = await trials.verdict(offer, offer.versions[1])
    finally:
        trials.close()
    if verdict.reason:
        raise NoBudget(f"the trial of {offer.name} says: {verdict.reason}")
    return estimate(verdict, 0, {"cpu": 1}, most_rows=1).needs["cpu"]


def _sum(metrics: str, name: str) -> int | None:
    found = [line.split()[-1] for line in metrics.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return int(sum(map(float, found))) if found else None


def _table(number: int) -> bytes:
    content = np.random.default_rng(number).standard_normal((ROWS, WIDTH), np.float32)
    row = helper.make_tensor_value_info("row", TensorProto.INT64, ["n"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", WIDTH])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "row"], ["y"])],
        "g",
        [row],
        [y],
        [numpy_helper.from_array(content, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    written: bytes = model.SerializeToString()
    return written
