"""What the hop costs: a tiny model through a gateway and a predict tier, beside the fused server."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.call import Door
from benchmarks.findings import Findings
from benchmarks.models import MODELS
from benchmarks.runs import Pace, Question, Say, Setup, in_turn
from benchmarks.tiers.models import lay_tiny
from benchmarks.tiers.processes import tiers

MANY = 64
DOORS = (Door.GRPC, Door.BINARY)


def measure(scratch: Path, pace: Pace, say: Say, findings: Findings) -> Any:
    told = []
    with _both(scratch) as (fused, apart):
        for door in DOORS:
            for clients in (MANY, 1):
                one, two = Setup("fused", *fused), Setup("gateway + predict", *apart)
                in_turn([one, two], Question("tiny", MODELS["tiny"].row(), door, clients), pace, say)
                told.append({"door": door, "clients": clients, "setups": [one.told(), two.told()]})
                if clients == MANY:
                    findings[f"hop cpu ratio {door}"] = two.of("cpu_us") / one.of("cpu_us")
                    findings[f"hop cpu {door}"] = two.of("cpu_us")
                else:
                    findings[f"hop alone {door}"] = two.of("p50_ms") - one.of("p50_ms")
    return told


@contextmanager
def _both(scratch: Path) -> Iterator[Any]:
    """The fused server and the tiers, each with its front and its processor time."""
    repository = scratch / "hop"
    lay_tiny(repository)
    with ExitStack() as stack:
        fused = stack.enter_context(tiers(repository, scratch, {"all": 1}))
        apart = stack.enter_context(tiers(repository, scratch, {"gateway": 1, "predict": 1}))
        yield (fused.front, fused.cpu_s), (apart.front, apart.cpu_s)
