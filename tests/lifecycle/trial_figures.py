"""The figures of docs/decisions/verification.md: python -m tests.lifecycle.trial_figures

Seconds, the least of several; the machine should have nothing else to do.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import structlog

from server.domain.offer import Offers
from server.lifecycle.ending import Limits
from server.lifecycle.trials import Trials
from server.lifecycle.verdicts import Verdicts
from server.repository.scanner import Scanner
from tests.server_process import SAMPLES

TIMES = 5
NEEDS = {"iris": "onnxruntime", "digits": "torch"}


def least(done: Callable[[], object]) -> float:
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        done()
        taken.append(time.perf_counter() - began)
    return min(taken)


def interpreter(*modules: str) -> float:
    command = [sys.executable, "-c", f"import {', '.join(('server.lifecycle.loader', *modules))}"]
    return least(lambda: subprocess.run(command, check=True))


async def trials_of(model: str, offers: Offers) -> tuple[float, float, float]:
    """Of the first, which starts the nursery, and of those after it, each with nothing known."""
    trials = Trials(Verdicts(), limits=Limits(timeout_s=60, memory_bytes=2**31), at_once=1)
    taken = []
    for _ in range(TIMES):
        trials._verdicts = Verdicts()
        began = time.perf_counter()
        await trials.verdict(offers[model], offers[model].versions[1])
        taken.append(time.perf_counter() - began)
    (nursery,) = psutil.Process().children()
    megabytes = nursery.memory_full_info().uss / 2**20
    trials.close()
    return taken[0], min(taken[1:]), megabytes


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    offers = Scanner([Path(SAMPLES)], settle_s=0).scan().offers
    print("| | new interpreter | first trial | each further one | the nursery's own memory |")
    for model, runtime in NEEDS.items():
        first, further, megabytes = asyncio.run(trials_of(model, offers))
        new = interpreter(runtime)
        print(f"| {model}, {runtime} | {new:.2f} s | {first:.2f} s | {further:.3f} s | {megabytes:.0f} MiB |")


if __name__ == "__main__":
    main()
