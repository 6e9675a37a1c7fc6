"""All servers in one table for the terminal, with what each request costs beside ours."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.peers.figures import limits, refusals, rows
from benchmarks.promises import SERVER

FORM = "{:<28}{:<16}{:>12}{:>10}{:>10}{:>14}{:>8}{:>12}{:>12}"
HEAD = ("", "", "requests/s", "p50 ms", "p99 ms", "CPU us/request", "batch", "ours: rate", "ours: CPU")


def table(content: Mapping[str, Any]) -> Iterator[str]:
    """The last columns: how many times theirs our rate is, and our CPU a request."""
    found = rows(content)
    ours = {(row.model, row.door, row.clients): row.figures for row in found if row.server == SERVER}
    yield ""
    yield FORM.format(*HEAD)
    last = None
    for row in found:
        point = (row.model, row.door, row.clients)
        title = f"{row.model}, {row.door}, {row.clients} clients" if point != last else ""
        last = point
        figures, best = row.figures, ours[point]
        batch = figures.get("mean_batch")
        yield FORM.format(
            title,
            row.server,
            f"{figures['requests_per_s']:,.0f}",
            f"{figures['p50_ms']:.2f}",
            f"{figures['p99_ms']:.2f}",
            f"{figures['cpu_us']:,.0f}",
            f"{batch:.1f}" if batch is not None else "",
            f"{best['requests_per_s'] / figures['requests_per_s']:.2f}",
            f"{best['cpu_us'] / figures['cpu_us']:.3f}",
        ).rstrip()
    for model, limit in limits(content).items():
        yield (
            f"{model} without a server: {limit['rows_per_s']:,.0f} rows/s "
            f"in batches of {limit['batch_size']}, {limit['alone_us']:,.1f} us for a row alone"
        )
    yield from refusals(content)
