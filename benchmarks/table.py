"""The report as a table for the terminal: every point, below its model's limit."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from benchmarks.report import Line, Report

COLUMNS = (
    "requests/s",
    "p50 ms",
    "p99 ms",
    "server CPU\nus/request",
    "mean\nbatch",
    "share of\nbare best",
)
CAPTION = (
    "Medians over the runs. A request is one row. The bare session is ONNX Runtime alone with one thread, at "
    "its best batch size: its p50 is a whole run, its CPU is for a row; there is no pre- or post-processing."
)


def table(report: Report) -> Table:
    """One row a line, model by model in the order measured."""
    drawn = Table(caption=CAPTION, caption_justify="left")
    for name in ("model", "server, door"):
        drawn.add_column(name, no_wrap=True)
    for name in ("clients", *COLUMNS):
        drawn.add_column(name, justify="right", no_wrap=True)
    for model in report.bare:
        drawn.add_section()
        drawn.add_row(model, *_limit(report, model))
        for line in report.lines:
            if line.point.model == model:
                title = f"{line.point.server}, {line.point.door}"
                drawn.add_row("", title, str(line.point.clients), *cells(report, line))
    return drawn


def cells(report: Report, line: Line) -> Sequence[str]:
    """The columns of one line; of one that is not valid, the reason in the first and nothing more."""
    if line.refusal:
        return ("refused", *[""] * (len(COLUMNS) - 1))
    figures = line.figures
    if figures.errors:
        return (f"{figures.errors} errors", *[""] * (len(COLUMNS) - 1))
    share = report.share(figures, line.point.model)
    return (
        _count(figures.requests_per_s),
        _ms(figures.p50_ms),
        _ms(figures.p99_ms),
        _count(figures.cpu_us),
        f"{figures.mean_batch:.1f}" if figures.mean_batch is not None else "",
        f"{share:.1%}" if share is not None else "",
    )


def _limit(report: Report, model: str) -> Sequence[str]:
    limit = report.limit(model)
    if limit is None:
        return ("bare session",)
    return (
        "bare session",
        "",
        _count(limit.rows_per_s),
        _ms(limit.run_ms),
        "",
        _count(limit.cpu_us_per_row),
        str(limit.batch_size),
        "100%",
    )


def _ms(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _count(value: float) -> str:
    """With decimals only where they say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def notes(report: Report) -> Iterator[str]:
    """A sentence for every line that has no figures, and what each model costs without any server."""
    for line in report.lines:
        point = line.point
        title = f"{point.server}, {point.model} over {point.door}, {point.clients} clients"
        if line.refusal:
            yield f"refused: {title}: {line.refusal}"
        elif not line.is_valid:
            yield f"invalid: {title}: {line.figures.errors} requests failed"
    for model in report.bare:
        limit = report.limit(model)
        if limit:
            yield (
                f"{model} without a server: {limit.alone_us:,.1f} us for a row alone, "
                f"{1e6 / limit.rows_per_s:,.1f} us for each in batches of {limit.batch_size}"
            )
