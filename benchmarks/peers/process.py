"""A peer in processes of its own: started with its task, ready once it answers, and gone with all its kin."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil

from benchmarks.ask import Refused, ask
from benchmarks.peers.environment import python
from benchmarks.peers.known import Peer
from benchmarks.peers.serve.session import VARIABLE, Task
from benchmarks.runs import Question
from benchmarks.server_under_test import ROOT, Batches, ServerFailed, ServerUnderTest, free_ports

START_DEADLINE_S = 120
STOP_DEADLINE_S = 10
QUIET = {"BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "1"}
"""No peer is to tell its makers of our runs."""


@contextmanager
def serving(
    peer: Peer,
    question: Question,
    model: Path,
    max_batch_size: int,
    scratch: Path,
    *,
    under: Sequence[str] = (),
) -> Iterator[ServerUnderTest]:
    """A peer that answers the question with this ONNX file. Raises `ServerFailed`.

    `scratch` is a folder for this peer alone; its rows and runs are counted there, for `batches` to read.
    `under` are the words of a program that runs it.
    """
    interpreter = python(peer.environment)
    scratch.mkdir()
    counts = scratch / "counts"
    np.zeros(2, np.int64).tofile(counts)
    http_port, grpc_port = free_ports(2)
    task = Task(
        model=question.model,
        file=str(model),
        counts=str(counts),
        scratch=str(scratch),
        rank=next(iter(question.row.values())).ndim,
        max_batch_size=max_batch_size,
        http_port=http_port,
        grpc_port=grpc_port,
    )
    environment = os.environ | QUIET | {VARIABLE: json.dumps(asdict(task)), "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{interpreter.parent}:{os.environ['PATH']}"
    log = scratch / "log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*under, str(interpreter), "-m", f"benchmarks.peers.serve.{peer.module}", *peer.words],
            cwd=scratch,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = ServerUnderTest(peer.name, process, log, http_port=http_port, grpc_port=grpc_port)
    try:
        _await_answer(server, peer, question)
        yield server
    finally:
        _end(process)


def batches(scratch: Path) -> Batches:
    """What the peer with this scratch folder has run."""
    rows, runs = np.fromfile(scratch / "counts", np.int64)
    return Batches(rows=int(rows), runs=int(runs))


def _await_answer(server: ServerUnderTest, peer: Peer, question: Question) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        server.cpu_s()  # which raises for a process that has ended
        try:
            ask(question.to(server, peer.speech), peer.speech.read_http)
        except (Refused, ValueError) as fault:
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"{peer.name} did not answer within {START_DEADLINE_S} s: {fault}"
                ) from None
            time.sleep(0.2)
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, a while to go, and then no mercy for it and for those that it leaves behind."""
    try:
        kin = [*psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        kin = []
    process.terminate()
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for each in kin:
        with suppress(psutil.NoSuchProcess):
            each.kill()
