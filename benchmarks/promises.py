"""What we promise of speed, each promise with its aim, and whether a report keeps it.

The aims are those of the issues that brought them: "Serve the repository" (that batches form) and "Speed"
(all else). Aims in microseconds hold for the machine on which Triton's C++ server spent 41 us on the same
request over HTTP and 57 over gRPC; on another, only servers measured side by side can be compared.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from benchmarks.call import Door
from benchmarks.report import Report

SERVER = "tercet"


Measured = TypeVar("Measured")
"""What a promise reads its figure from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise(Generic[Measured]):
    """
    figure    reads it from a report of its kind; None if it was not measured, or with errors
    form      how a figure is written, as for `format`
    at_most, at_least   the aim, one of them
    """

    name: str
    figure: Callable[[Measured], float | None]
    form: str
    at_most: float | None = None
    at_least: float | None = None

    def is_met(self, figure: float) -> bool:
        if self.at_most is not None:
            return figure <= self.at_most
        return self.at_least is not None and figure >= self.at_least

    def verdict(self, figure: float) -> str:
        """One line: name, figure, aim, met or falls short."""
        bound, aim = ("at most", self.at_most) if self.at_most is not None else ("at least", self.at_least)
        outcome = "met" if self.is_met(figure) else "falls short"
        return f"{self.name:<58} {figure:>10{self.form}}   {bound} {aim:{self.form}}   {outcome}"


def verdicts(report: Report) -> Iterator[str]:
    """A line for each promise whose figure this report has."""
    for promise in PROMISES:
        figure = promise.figure(report)
        if figure is not None:
            yield promise.verdict(figure)


def _cpu_us(door: Door) -> Callable[[Report], float | None]:
    def figure(report: Report) -> float | None:
        measured = report.find(SERVER, "tiny", door, clients=64)
        return measured.cpu_us if measured else None

    return figure


def _share_of_large(door: Door) -> Callable[[Report], float | None]:
    def figure(report: Report) -> float | None:
        measured = report.find(SERVER, "large", door, clients=8)
        return report.share(measured, "large") if measured else None

    return figure


def _added_to_large(door: Door) -> Callable[[Report], float | None]:
    """What a lone caller waits beyond the run itself, as a share of the run."""

    def figure(report: Report) -> float | None:
        measured, limit = report.find(SERVER, "large", door, clients=1), report.limit("large")
        return measured.p50_ms * 1e3 / limit.alone_us - 1 if measured and limit else None

    return figure


def _mean_batch(door: Door) -> Callable[[Report], float | None]:
    def figure(report: Report) -> float | None:
        measured = report.find(SERVER, "tiny", door, clients=32)
        return measured.mean_batch if measured else None

    return figure


HTTP_US, GRPC_US = 22, 37
AS_FAST_AS_THE_LIMIT, HARDLY_LATER = 0.97, 0.03
COMPANY = 1.1
"""Rows in a mean batch: clearly more than one."""

PROMISES = (
    *(
        Promise(
            name=f"tiny, {door}, 64 clients: CPU us/request", figure=_cpu_us(door), form=".1f", at_most=aim
        )
        for door, aim in ((Door.JSON, HTTP_US), (Door.BINARY, HTTP_US), (Door.GRPC, GRPC_US))
    ),
    *(
        Promise(
            name=f"tiny, {door}, 32 clients: rows in a mean batch",
            figure=_mean_batch(door),
            form=".1f",
            at_least=COMPANY,
        )
        for door in Door
    ),
    *(
        Promise(
            name=f"large, {door}, 8 clients: rate against the bare session",
            figure=_share_of_large(door),
            form=".1%",
            at_least=AS_FAST_AS_THE_LIMIT,
        )
        for door in (Door.BINARY, Door.GRPC)
    ),
    *(
        Promise(
            name=f"large, {door}, 1 client: latency beyond the run",
            figure=_added_to_large(door),
            form=".1%",
            at_most=HARDLY_LATER,
        )
        for door in (Door.BINARY, Door.GRPC)
    ),
)
