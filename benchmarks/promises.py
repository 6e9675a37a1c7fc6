"""What we promise of speed, each promise with its aim, and whether a report keeps it.

The aims are those of the issues that brought them: "Serve the repository" (that batches form) and "Speed"
(all else). Aims in time, and in requests a second, hold for the machine on which Triton's C++ server spent
41 us on the same request over HTTP and 57 over gRPC; on another, only servers measured side by side can be
compared (`make bench-peers`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from benchmarks.call import Door
from benchmarks.report import Figures, Report

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


Read = Callable[[Figures], float]


def _cpu_us(figures: Figures) -> float:
    return figures.cpu_us


def _p50_ms(figures: Figures) -> float:
    return figures.p50_ms


def _rate(figures: Figures) -> float:
    return figures.requests_per_s


def _of(model: str, door: Door, clients: int, read: Read) -> Callable[[Report], float | None]:
    def figure(report: Report) -> float | None:
        measured = report.find(SERVER, model, door, clients)
        return read(measured) if measured else None

    return figure


def _share_of_large(door: Door) -> Callable[[Report], float | None]:
    return lambda report: report.share_of_session(SERVER, "large", door, clients=8)


def _added_to_large(door: Door) -> Callable[[Report], float | None]:
    """What a lone caller waits beyond the run itself, as a share of the run."""

    def figure(report: Report) -> float | None:
        share = report.share_of_session(SERVER, "large", door, clients=1)
        return share - 1 if share is not None else None

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

TINY_PER_S = {
    (Door.JSON, 64): 1.3 * 33_700,
    (Door.BINARY, 64): 1.3 * 33_100,
    (Door.GRPC, 64): 1.3 * 22_100,
    (Door.JSON, 8): 1.5 * 20_500,
    (Door.BINARY, 8): 1.5 * 20_500,
    (Door.GRPC, 8): 1.25 * 16_200,
}
"""By door and clients: so many times what Triton answered, set up as suits it better."""
TINY_ALONE_MS = {Door.JSON: 0.15, Door.BINARY: 0.15, Door.GRPC: 1.15 * 0.22}
WIDE_US = {
    (Door.BINARY, 1): 1_600,
    (Door.BINARY, 8): 1_700,
    (Door.GRPC, 1): 1.2 * 1_200,
    (Door.GRPC, 8): 1.2 * 1_700,
}
"""By door and clients: what Triton spent, and a fifth more over gRPC."""

PROMISES = (
    *(
        Promise(
            name=f"tiny, {door}, 64 clients: CPU us/request",
            figure=_of("tiny", door, 64, _cpu_us),
            form=".1f",
            at_most=aim,
        )
        for door, aim in ((Door.JSON, HTTP_US), (Door.BINARY, HTTP_US), (Door.GRPC, GRPC_US))
    ),
    *(
        Promise(
            name=f"tiny, {door}, {clients} clients: requests/s",
            figure=_of("tiny", door, clients, _rate),
            form=",.0f",
            at_least=aim,
        )
        for (door, clients), aim in TINY_PER_S.items()
    ),
    *(
        Promise(
            name=f"tiny, {door}, 1 client: p50 ms",
            figure=_of("tiny", door, 1, _p50_ms),
            form=".2f",
            at_most=aim,
        )
        for door, aim in TINY_ALONE_MS.items()
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
    *(
        Promise(
            name=f"wide, {door}, {clients} client{'s' if clients > 1 else ''}: CPU us/request",
            figure=_of("wide", door, clients, _cpu_us),
            form=",.0f",
            at_most=aim,
        )
        for (door, clients), aim in WIDE_US.items()
    ),
)
