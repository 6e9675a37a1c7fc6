"""Timed runs of one call against several set-ups in turn, so that a busy moment hits all alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from benchmarks.ask import ask, check
from benchmarks.call import Call, Door
from benchmarks.codec import OPEN_INFERENCE, Speech
from benchmarks.load import load
from benchmarks.models import Tensors
from benchmarks.sample import LoadFailed
from benchmarks.server_under_test import Batches, ServerUnderTest, mean_batch

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

    speech        how it wants to be asked
    batches       reads its rows and runs so far; None for what is not to be told
    reply_bytes   of a right answer
    runs          requests/s, p50 and p99 in ms, processor time in us a request, and where its batches are
                  told the rows in a mean one, of each run
    """

    name: str
    front: ServerUnderTest
    cpu_s: Callable[[], float]
    speech: Speech = OPEN_INFERENCE
    batches: Callable[[], Batches | None] | None = None
    reply_bytes: int = 0
    runs: list[Mapping[str, float]] = field(default_factory=list)

    def of(self, figure: str) -> float:
        return median(run[figure] for run in self.runs if figure in run)

    def medians(self) -> Mapping[str, float]:
        return {key: self.of(key) for key in self.runs[0]}

    def told(self) -> Mapping[str, Any]:
        return {"name": self.name, "runs": self.runs, "median": self.medians()}


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

    def to(self, server: ServerUnderTest, speech: Speech = OPEN_INFERENCE) -> Call:
        ports = {"http_port": server.http_port, "grpc_port": server.grpc_port}
        return replace(speech.encode(self.door, self.model, self.row, **ports), ca=server.grpc_ca)


def prepare(setup: Setup, question: Question) -> None:
    """Hold its answer against the truth, and warm it up. Raises `Refused` or `LoadFailed`."""
    call = question.to(setup.front, setup.speech)
    reply = ask(call, setup.speech.read_http)
    if question.truth is None:
        question.truth = reply.outputs
    check(reply.outputs, question.truth)
    setup.reply_bytes = reply.body_bytes
    load(
        call,
        clients=question.clients,
        seconds=WARM_UP_S * question.patience,
        reply_bytes=setup.reply_bytes,
    )


def in_turn(setups: Sequence[Setup], question: Question, pace: Pace, say: Say) -> None:
    """Time each of them, `repeats` times over. Raises `LoadFailed` if any request fails."""
    for setup in setups:
        prepare(setup, question)
    for _ in range(pace.repeats):
        for setup in setups:
            time_one(setup, question, pace, say)


def time_one(setup: Setup, question: Question, pace: Pace, say: Say) -> None:
    """One more run of one that is prepared. Raises `LoadFailed` if any request fails."""
    last = timed(setup, question, pace.seconds * question.patience)
    setup.runs.append(last)
    say(
        f"  {question.model} over {question.door}, {question.clients} clients: {setup.name:<22}"
        f"{last['requests_per_s']:>10,.1f}/s, p50 {last['p50_ms']:.2f} ms, "
        f"CPU {last['cpu_us']:,.0f} us a request"
    )


def timed(setup: Setup, question: Question, seconds: int) -> Mapping[str, float]:
    call = question.to(setup.front, setup.speech)
    batches_before = setup.batches() if setup.batches else None
    before = setup.cpu_s()
    sample = load(call, clients=question.clients, seconds=seconds, reply_bytes=setup.reply_bytes)
    cpu_s = setup.cpu_s() - before
    rows = mean_batch(batches_before, setup.batches() if setup.batches else None)
    setup.front.forget_log()
    if sample.errors:
        raise LoadFailed(f"{setup.name}: {sample.errors} requests failed")
    time.sleep(0.1)  # what the last run has left to do is none of the next one's
    told = {
        "requests_per_s": sample.requests_per_s,
        "p50_ms": sample.p50_ms,
        "p99_ms": sample.p99_ms,
        "cpu_us": cpu_s / sample.requests * 1e6,
    }
    return told | ({"mean_batch": rows} if rows is not None else {})
