"""Where the time of one request went, for a caller who asks: as parameters of its answer.

A request asks by the parameter `explain`, whose value is `timing`. Times are whole microseconds. `queue` is
until the run or the code began, `compute` in it; `transfer` is on the way to another process and back, less
what it took there.
"""

from collections.abc import Mapping, Sequence
from time import monotonic

from server.domain.request import InferRequest, Parameters
from server.domain.stage import Span

EXPLAIN, TIMING = "explain", "timing"


def wants_timing(request: InferRequest) -> bool:
    """Ask only of a request that has parameters."""
    return request.parameters.get(EXPLAIN) == TIMING


def timings(request: InferRequest, spans: Sequence[Span], transfer_ns: int = -1) -> Parameters:
    """What the answer says beside its tensors. `spans` are in the order of the stages.

    transfer_ns   to the process of the first stage and back; below 0 where all was done in this one
    """
    told: dict[str, int] = {}
    for span in spans:
        parts: Mapping[str, int] = {"queue": span.queue_ns, "compute": span.compute_ns}
        if transfer_ns >= 0:
            parts = {**parts, "transfer": transfer_ns}
            transfer_ns = span.transfer_ns
        for part, ns in parts.items():
            told[f"timing.{span.stage}.{part}_us"] = ns // 1000
    return {**told, **whole(request)}


def of_step(at: int, model: str, told: Parameters) -> Parameters:
    """What the answer of a step says, as that of its ensemble does."""
    return {f"timing.step{at}.{model}.{part.removeprefix('timing.')}": value for part, value in told.items()}


def whole(request: InferRequest) -> Parameters:
    """From its arrival to now."""
    return {"timing.total_us": int((monotonic() - request.arrived) * 1e6)}
