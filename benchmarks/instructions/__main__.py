"""`python -m benchmarks.instructions`, which is `make instructions`: what a request takes, in instructions.

Ours and the prototype answer the same requests of a tiny model, one server after the other, each under
callgrind. A count that no other work on the machine changes: it tells a change of a hundredth, where the
processor time of a request differs by a third between two minutes.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.call import Door
from benchmarks.codec import OPEN_INFERENCE, Speech
from benchmarks.findings import Findings, aim
from benchmarks.instructions import callgrind, lockstep
from benchmarks.load import load
from benchmarks.models import MODELS, lay, version_folder
from benchmarks.parts import parser, run
from benchmarks.peers.known import PROTOTYPE
from benchmarks.peers.process import batches, serving
from benchmarks.runs import Pace, Question, Say, Setup, prepare
from benchmarks.sample import LoadFailed
from benchmarks.server_under_test import Batches, ServerUnderTest, mean_batch, started

CLIENTS = 32
START_DEADLINE_S = 400
PATIENCE = 10
"""Warming up lasts so many seconds: what a server learns of its runs takes their number, not time."""

ROUNDS_A_SECOND = 20
"""So many there are, about; over HTTP they are counted, and not the seconds."""

MOST_ROWS = 64
Asked = tuple[ServerUnderTest, Speech, Callable[[], Batches | None]]
"""A server, how it wants to be asked, and what reads its rows and runs."""

AIMS = [
    aim(f"tiny, {door}: instructions over the prototype's", f"{door} over prototype", ".2f", at_most=at_most)
    for door, at_most in ((Door.BINARY, 1.3), (Door.JSON, 1.3), (Door.GRPC, 1.35))
]


def measure(door: Door, scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    """Of one door. Two counts can be compared where the mean batches are about the same."""
    model = MODELS["tiny"]
    repository = scratch / "models"
    lay([model], repository)
    question = Question(model.name, model.row(), door, CLIENTS, patience=PATIENCE)
    told, together = {}, {}
    for name, server in (("tercet", _ours), ("prototype", _prototype)):
        dumps = scratch / f"{name}.callgrind"
        with server(repository, question, dumps) as (front, speech, ran):
            setup = Setup(name, front, front.cpu_s, speech)
            prepare(setup, question)
            before, ask = ran(), partial(_ask, setup, question, pace.seconds)
            told[name] = median(callgrind.counted(front.pid, dumps, ask) for _ in range(pace.repeats))
            together[name] = mean_batch(before, ran())
        say(
            f"  tiny over {door}, {CLIENTS} clients: {name:<12}{told[name]:>12,.0f} instructions a request, "
            f"mean batch {together[name] or 0:.1f}"
        )
    findings[f"{door} over prototype"] = told["tercet"] / told["prototype"]
    return {"instructions": told, "mean_batch": together}


def _ask(setup: Setup, question: Question, seconds: int) -> int:
    """Requests that were answered. Raises `LoadFailed` if one of them was not."""
    call = question.to(setup.front, setup.speech)
    if call.door is not Door.GRPC:
        rounds = ROUNDS_A_SECOND * seconds
        return lockstep.run(call, setup.front.pid, clients=question.clients, rounds=rounds)
    sample = load(call, clients=question.clients, seconds=seconds, reply_bytes=setup.reply_bytes)
    if sample.errors:
        raise LoadFailed(f"{setup.name}: {sample.errors} requests failed")
    return sample.requests


@contextmanager
def _ours(repository: Path, question: Question, dumps: Path) -> Iterator[Asked]:
    log, under = dumps.with_suffix(".log"), callgrind.words(dumps)
    with started("tercet", [str(repository)], log, under=under, within_s=START_DEADLINE_S) as server:
        yield server, OPEN_INFERENCE, partial(server.batches, question.model)


@contextmanager
def _prototype(repository: Path, question: Question, dumps: Path) -> Iterator[Asked]:
    file = version_folder(repository, question.model) / "model.onnx"
    under, scratch = callgrind.words(dumps), dumps.with_suffix(".scratch")
    with serving(PROTOTYPE, question, file, MOST_ROWS, scratch, under=under) as server:
        yield server, PROTOTYPE.speech, partial(batches, scratch)


PARTS = {str(door): partial(measure, door) for door in (Door.BINARY, Door.JSON, Door.GRPC)}

if __name__ == "__main__":
    WHAT = "Count the instructions of a request."
    asked = parser("instructions", WHAT, PARTS, seconds=20, repeats=1).parse_args()
    sys.exit(run("instructions", PARTS, AIMS, asked))
