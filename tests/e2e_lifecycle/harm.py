"""A server with one part that fails once FILE is there: python -m tests.e2e_lifecycle.harm PART FILE serve …

All of it is the real thing but the harm.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.api.grpc_front import InferFront
from server.app import doors, local
from server.cli import main
from server.repository.scanner import Scan, Scanner

LOOK_AGAIN_S = 0.02


class Harm(Exception):
    """What a harmed part fails with."""


def repository(harm: Path) -> None:
    """The look at the repositories fails, in the thread that does it."""

    class HarmedScanner(Scanner):
        def scan(self) -> Scan:
            if harm.exists():
                raise Harm("the scanner is harmed")
            return super().scan()

    local.Scanner = HarmedScanner


async def until_harmed(harm: Path, part: str) -> None:
    while not harm.exists():  # noqa: ASYNC110, ASYNC240  (nobody tells, and it takes microseconds)
        await asyncio.sleep(LOOK_AGAIN_S)
    raise Harm(f"the {part} is harmed")


def http(harm: Path, door: str = "HttpDoor") -> None:
    """The door's server fails, as uvicorn does where its socket is lost."""
    serve: Callable[..., Any] = doors.serve_http

    async def serve_until_harmed(app: Any, *rest: Any, **limits: Any) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(app, *rest, **limits))
            if type(app).__name__ == door:
                tasks.create_task(until_harmed(harm, door))

    doors.serve_http = serve_until_harmed


def metrics(harm: Path) -> None:
    http(harm, "MetricsDoor")


def grpc(harm: Path) -> None:
    """What answers gRPC fails, with its connections open."""

    class HarmedFront(InferFront):
        async def serve(self, *what: Any, **limits: Any) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(super().serve(*what, **limits))
                tasks.create_task(until_harmed(harm, "InferFront"))

    doors.InferFront = HarmedFront


PARTS = {part.__name__: part for part in (repository, http, metrics, grpc)}

if __name__ == "__main__":
    PARTS[sys.argv[1]](Path(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
