"""What was measured, as values: the words that measuring, the table, the promises and the files share.

A point is measured several times, in turn with the others; its figures are the medians of its runs, column
by column, so one run beside a busy neighbour does not decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from benchmarks.bare import BareRate
from benchmarks.call import Door


@dataclass(frozen=True, slots=True)
class Point:
    """One row of the table: so many clients at one door of one server ask one model."""

    server: str
    model: str
    door: Door
    clients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """
    cpu_us       of the server's process tree, user and system, for each request
    mean_batch   rows in a run; None if the server does not tell, or ran nothing
    errors       requests that failed: one is enough to make the other figures worthless
    """

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    mean_batch: float | None
    errors: int
    generator: str


@dataclass(slots=True)
class Line:
    """A point with its runs so far. `refusal` says why it is not measured, or not any more."""

    point: Point
    runs: list[Figures] = field(default_factory=list)
    refusal: str = ""

    @property
    def is_valid(self) -> bool:
        return bool(self.runs) and not self.refusal and not any(run.errors for run in self.runs)

    @property
    def figures(self) -> Figures:
        return middle(self.runs)


@dataclass(frozen=True, slots=True)
class Turn:
    """A figure of the server, and the session's just before and just after."""

    before: float
    served: float
    after: float

    @property
    def share(self) -> float:
        """Of what the session did about then."""
        return self.served / fmean((self.before, self.after))


@dataclass(frozen=True, slots=True)
class Abreast:
    """A point in turn with the bare session: rows a second, or at one client milliseconds of latency."""

    point: Point
    turns: Sequence[Turn]

    @property
    def share(self) -> float:
        return median(turn.share for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Report:
    """`bare` has, for each model, the limit as its runs found it."""

    lines: Sequence[Line]
    bare: Mapping[str, Sequence[BareRate]]
    abreast: Sequence[Abreast] = ()

    def find(self, server: str, model: str, door: Door, clients: int) -> Figures | None:
        """The figures of a point that was measured without an error."""
        wanted = Point(server, model, door, clients)
        return next((line.figures for line in self.lines if line.point == wanted and line.is_valid), None)

    def share_of_session(self, server: str, model: str, door: Door, clients: int) -> float | None:
        """Of a point that took turns with the bare session."""
        wanted = Point(server, model, door, clients)
        return next((each.share for each in self.abreast if each.point == wanted), None)

    def limit(self, model: str) -> BareRate | None:
        runs = self.bare.get(model)
        return middle_rate(runs) if runs else None

    def share(self, figures: Figures, model: str) -> float | None:
        """Of the bare session's best rate; a request is one row."""
        limit = self.limit(model)
        return figures.requests_per_s / limit.rows_per_s if limit else None


def middle(runs: Sequence[Figures]) -> Figures:
    """The median of each column; the errors are added up."""
    batches = [run.mean_batch for run in runs if run.mean_batch is not None]
    return Figures(
        requests_per_s=median(run.requests_per_s for run in runs),
        p50_ms=median(run.p50_ms for run in runs),
        p99_ms=median(run.p99_ms for run in runs),
        cpu_us=median(run.cpu_us for run in runs),
        mean_batch=median(batches) if batches else None,
        errors=sum(run.errors for run in runs),
        generator=runs[0].generator,
    )


def middle_rate(runs: Sequence[BareRate]) -> BareRate:
    """The run of the median rate, whole: its columns belong to its batch size."""
    return sorted(runs, key=lambda run: run.rows_per_s)[len(runs) // 2]
