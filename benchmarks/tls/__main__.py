"""`python -m benchmarks.tls`, which is `make bench-tls`: what TLS takes of a request over gRPC.

The native front with TLS and without, and grpcio with it, in turns.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.call import Door
from benchmarks.findings import Findings, aim
from benchmarks.models import MODELS, lay
from benchmarks.parts import main
from benchmarks.runs import Pace, Question, Say, Setup, in_turn
from benchmarks.server_under_test import tercet
from benchmarks.tls.certificate import Signed, sign

CLIENTS = (1, 8, 64)
MOST = CLIENTS[-1]
TINY = MODELS["tiny"]

AIMS = (
    aim(f"tiny, TLS, {MOST} clients: CPU over grpcio's", "over grpcio", ".2f", at_most=0.25),
    aim(f"tiny, {MOST} clients: CPU with TLS over that without", "over plain", ".2f", at_most=1.5),
)
"""Ours: no issue has any."""


def measure(scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    lay([TINY], scratch / "models")
    signed = sign(scratch)
    with ExitStack() as servers:

        def setup(name: str, front: str, signed: Signed | None) -> Setup:
            log = scratch / f"{name}.log"
            server = servers.enter_context(tercet(scratch / "models", log, options(front, signed)))
            server.grpc_ca = None if signed is None else signed.certificate
            return Setup(name, server, server.cpu_s)

        setups = (
            setup("tls", "native", signed),
            setup("plain", "native", None),
            setup("grpcio", "grpcio", signed),
        )
        told = []
        for clients in CLIENTS:
            for each in setups:
                each.runs = []
            in_turn(list(setups), Question("tiny", TINY.row(), Door.GRPC, clients), pace, say)
            told.append({"clients": clients, "setups": [each.told() for each in setups]})
        tls, plain, grpcio = (each.of("cpu_us") for each in setups)
        findings |= {"over grpcio": tls / grpcio, "over plain": tls / plain}
    return told


def options(front: str, signed: Signed | None) -> Sequence[str]:
    """Triton's, which leave HTTP as it is."""
    if signed is None:
        return (f"--grpc-front={front}",)
    return (
        f"--grpc-front={front}",
        "--grpc-use-ssl=true",
        f"--grpc-server-cert={signed.certificate}",
        f"--grpc-server-key={signed.key}",
    )


if __name__ == "__main__":
    sys.exit(main("tls", "Measure what TLS takes of a request.", {"grpc": measure}, AIMS, sys.argv[1:]))
