"""Timed runs of one call against several set-ups in turn, so that a busy moment hits all alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.ask import ask, check
from benchmarks.call import Call, Door
from benchmarks.codec import encode
from benchmarks.load import load
from benchmarks.models import Tensors
from benchmarks.sample import LoadFailed
from benchmarks.server_under_test import ServerUnderTest

WARM_UP_S = 1

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long each run is, and how often it is done; `quick` for a look."""

    seconds: int
    repeats: int
    quick: bool = False


@dataclass(slots=True)
class Setup:
    """Something that is asked: its front, and whose processor time it takes.

    runs   requests/s, p50 in ms and processor time in us a request, of each run
    """

    name: str
    front: ServerUnderTest
    cpu_s: Callable[[], float]
    runs: list[Mapping[str, float]] = field(default_factory=list)

    def of(self, figure: str) -> float:
        return median(run[figure] for run in self.runs)

    def told(self) -> Mapping[str, Any]:
        return {"name": self.name, "runs": self.runs, "median": {key: self.of(key) for key in self.runs[0]}}


@dataclass(slots=True)
class Question:
    """What all of them are asked.

    truth      what each has to answer; None for what the first answers
    patience   runs last so many times longer: what is slow needs more time to be counted
    """

    model: str
    row: Tensors
    door: Door
    clients: int
    patience: int = 1
    truth: Tensors | None = None
    reply_bytes: int = 0

    def to(self, server: ServerUnderTest) -> Call:
        return encode(self.door, self.model, self.row, http_port=server.http_port, grpc_port=server.grpc_port)


def prepare(setup: Setup, question: Question) -> None:
    """Hold its answer against the truth, and warm it up. Raises `Refused` or `LoadFailed`."""
    reply = ask(question.to(setup.front))
    if question.truth is None:
        question.truth = reply.outputs
    check(reply.outputs, question.truth)
    question.reply_bytes = reply.body_bytes
    call = question.to(setup.front)
    load(
        call,
        clients=question.clients,
        seconds=WARM_UP_S * question.patience,
        reply_bytes=question.reply_bytes,
    )


def in_turn(setups: Sequence[Setup], question: Question, pace: Pace, say: Say) -> None:
    """Time each of them, `repeats` times over. Raises `LoadFailed` if any request fails."""
    for setup in setups:
        prepare(setup, question)
    for _ in range(pace.repeats):
        for setup in setups:
            setup.runs.append(timed(setup, question, pace.seconds * question.patience))
            last = setup.runs[-1]
            say(
                f"  {question.model} over {question.door}, {question.clients} clients: {setup.name:<22}"
                f"{last['requests_per_s']:>10,.1f}/s, p50 {last['p50_ms']:.2f} ms, "
                f"CPU {last['cpu_us']:,.0f} us a request"
            )


def timed(setup: Setup, question: Question, seconds: int) -> Mapping[str, float]:
    call = question.to(setup.front)
    before = setup.cpu_s()
    sample = load(call, clients=question.clients, seconds=seconds, reply_bytes=question.reply_bytes)
    cpu_s = setup.cpu_s() - before
    setup.front.forget_log()
    if sample.errors:
        raise LoadFailed(f"{setup.name}: {sample.errors} requests failed")
    time.sleep(0.1)  # what the last run has left to do is none of the next one's
    return {
        "requests_per_s": sample.requests_per_s,
        "p50_ms": sample.p50_ms,
        "p99_ms": sample.p99_ms,
        "cpu_us": cpu_s / sample.requests * 1e6,
    }
