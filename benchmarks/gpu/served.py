"""One network, served beside the bare session and torch, which take turns.

A request brings a quarter of the batch that suits the bare session best, over binary HTTP; with so many
clients that two batches are under way and two wait. All of a device's work is in the answer: rows a second.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.ask import Refused, ask
from benchmarks.call import Door
from benchmarks.codec import encode
from benchmarks.findings import Findings
from benchmarks.gpu.graphs import lay
from benchmarks.gpu.limit import Task, close, limit
from benchmarks.gpu.networks import NETWORKS, Network
from benchmarks.load import load
from benchmarks.parts import Measure
from benchmarks.runs import WARM_UP_S, Pace, Say
from benchmarks.server_under_test import ServerUnderTest, tercet

REQUESTS_A_BATCH = 4
BATCHES_AT_ONCE = 4
QUEUE_BYTES = 1 << 30
"""Sixteen requests of many images are more than a queue takes by default."""


def part(name: str, dtype: str, device: str) -> Measure:
    def measure(scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
        network = NETWORKS[name](quick=pace.quick)
        file = lay(network, dtype, device, scratch / "models")
        tasks = {
            runtime: Task(
                runtime=runtime,
                network=name,
                dtype=dtype,
                device=device,
                quick=pace.quick,
                file=str(file),
                seconds=pace.seconds,
            )
            for runtime in ("bare", "torch")
        }
        found = {runtime: limit(task) for runtime, task in tasks.items()}
        if not close(np.array(found["torch"].answer), found["bare"].answer):
            raise Refused("torch answers otherwise than the bare session: they are not the same network")
        rates: dict[str, list[float]] = {"bare": [], "torch": [], "served": []}
        rows = max(1, found["bare"].rows // REQUESTS_A_BATCH)
        with tercet(
            scratch / "models", scratch / "server.log", [f"--max-queue-bytes={QUEUE_BYTES}"]
        ) as server:
            serve = _asker(server, network, dtype, rows, found["bare"].answer)
            for _ in range(pace.repeats):
                for runtime, task in tasks.items():
                    again = replace(task, rows=found[runtime].rows)
                    rates[runtime].append(limit(again).rows_per_s)
                rates["served"].append(serve(pace.seconds))
                say("  " + ", ".join(f"{each} {runs[-1]:,.1f} rows/s" for each, runs in rates.items()))
        middle = {each: median(runs) for each, runs in rates.items()}
        findings[f"{name} {dtype} share"] = middle["served"] / middle["bare"]
        findings[f"{name} {dtype} torch"] = middle["served"] / middle["torch"]
        return {
            "rows of a batch": {each: one.rows for each, one in found.items()},
            "rows of a request": rows,
            "rows/s": middle,
            "runs": rates,
        }

    return measure


def _asker(
    server: ServerUnderTest, network: Network, dtype: str, rows: int, truth: list[float]
) -> Callable[[int], float]:
    """Hold an answer against the truth and warm up; then so many seconds give the rows of one."""
    model = f"{network.name}_{dtype}"
    ports = {"http_port": server.http_port, "grpc_port": server.grpc_port}
    reply = ask(encode(Door.BINARY, model, {"INPUT": network.row(1, dtype)}, **ports))
    if not close(reply.outputs["OUTPUT"], truth):
        raise Refused(f"{model} is answered otherwise than by the bare session")
    call = encode(Door.BINARY, model, {"INPUT": network.row(rows, dtype)}, **ports)
    clients = REQUESTS_A_BATCH * BATCHES_AT_ONCE
    load(call, clients=clients, seconds=WARM_UP_S, reply_bytes=0)

    def serve(seconds: int) -> float:
        sample = load(call, clients=clients, seconds=seconds, reply_bytes=0)
        server.forget_log()
        if sample.errors:
            raise Refused(f"{sample.errors} requests to {model} failed")
        return rows * sample.requests_per_s

    return serve
