"""What is promised beside each peer, with its aims; they are those of the issue "Speed".

A ratio is ours over theirs, both from runs that took turns. Of the two ways to set up Triton the better one
counts: the lower cost, the higher rate.
"""

from collections.abc import Mapping

from benchmarks.call import Door
from benchmarks.findings import Findings, aim
from benchmarks.peers.known import PEERS, PROTOTYPE, TRITON, TRITON_DELAYED

CLIENTS = 64
MODEL = "tiny"
OVER_PROTOTYPE = {Door.BINARY: 1.3, Door.JSON: 1.3, Door.GRPC: 1.35}
OVER_TRITON = {Door.BINARY: 0.28, Door.JSON: 0.28, Door.GRPC: 0.35}
RATE_OVER_TRITON = {Door.BINARY: 3.0, Door.JSON: 3.0, Door.GRPC: 2.3}
RATE_OVER_OTHERS = {Door.BINARY: 15.0, Door.JSON: 15.0, Door.GRPC: 10.0}
TRITONS = (TRITON, TRITON_DELAYED)
OTHERS = tuple(peer for peer in PEERS.values() if peer not in (PROTOTYPE, *TRITONS))


def key(what: str, peer: str, door: Door) -> str:
    return f"{what} {peer} {door}"


def add(
    findings: Findings, peer: str, door: Door, ours: Mapping[str, float], theirs: Mapping[str, float]
) -> None:
    """Find the two ratios of one peer at one door, from medians of runs that took turns."""
    findings[key("cpu", peer, door)] = ours["cpu_us"] / theirs["cpu_us"]
    findings[key("rate", peer, door)] = ours["requests_per_s"] / theirs["requests_per_s"]


def add_better_triton(findings: Findings) -> None:
    """Hold ours against the better way to set up Triton, at each door where both were measured."""
    for door in Door:
        for what, worse in (("cpu", max), ("rate", min)):
            ratios = [findings.get(key(what, peer.name, door)) for peer in TRITONS]
            known = [ratio for ratio in ratios if ratio is not None]
            if len(known) == len(TRITONS):
                findings[key(what, "tritonserver", door)] = worse(known)


AIMS = (
    *(
        aim(
            f"tiny, {door}: CPU over the prototype's",
            key("cpu", PROTOTYPE.name, door),
            ".2f",
            at_most=OVER_PROTOTYPE[door],
        )
        for door in PROTOTYPE.doors
    ),
    *(
        each
        for door in TRITON.doors
        for each in (
            aim(
                f"tiny, {door}: CPU over tritonserver's (Python backend)",
                key("cpu", "tritonserver", door),
                ".2f",
                at_most=OVER_TRITON[door],
            ),
            aim(
                f"tiny, {door}: rate over tritonserver's (Python backend)",
                key("rate", "tritonserver", door),
                ".1f",
                at_least=RATE_OVER_TRITON[door],
            ),
        )
    ),
    *(
        aim(
            f"tiny, {door}: rate over {peer.name}'s",
            key("rate", peer.name, door),
            ".1f",
            at_least=RATE_OVER_OTHERS[door],
        )
        for peer in OTHERS
        for door in peer.doors
    ),
)
