"""A server and the bare session turn about, where the model is all the work.

There a promise is a few per cent of the model's own time, and a machine that others share changes its pace by
more within a minute. So each run of the server stands between two short ones of the session, and what is told
is the median of what it was to its own two neighbours.

Run as a module, this file is the session: a line of input with a batch size and seconds is answered with
a line that has the milliseconds of each run.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median

from benchmarks.bare import Bare, batch_sizes
from benchmarks.call import Call
from benchmarks.load import load
from benchmarks.load_python import Completions, completions
from benchmarks.models import MODELS, version_folder
from benchmarks.report import Abreast, Point, Turn
from benchmarks.sample import LoadFailed

ROOT = Path(__file__).resolve().parents[1]
SCANS = 3
"""Rounds over all batch sizes, before the best of them is known."""
SCAN_S = 0.5
BARE_S = 1
RATE_S = 2
LATENCY_S = 1
"""Short ones, and many: such a machine keeps its pace for seconds."""
RATES = 5
LATENCIES = 9
"""Turns for each run of the others."""
TOGETHER = 0.25
"""Of a row's own time: answers that are no further apart belong to one run."""

Session = Callable[[int, float], Sequence[float]]
"""Runs batches of so many rows for so many seconds: the milliseconds of each run."""


@contextmanager
def session(repository: Path, model: str) -> Iterator[Session]:
    """The model's session in a process of its own, which rests between two turns."""
    command = [sys.executable, "-m", "benchmarks.abreast", str(repository), model]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, told = process.stdin, process.stdout

        def run(rows: int, seconds: float) -> Sequence[float]:
            asked.write(f"{rows} {seconds}\n")
            asked.flush()
            runs_ms: list[float] = json.loads(told.readline())
            return runs_ms

        try:
            yield run
        finally:
            asked.close()  # it ends with its input


def best_batch(run: Session, max_batch_size: int) -> int:
    """Of how many rows the batches are that bring most of them: all sizes are tried in turn."""
    sizes = batch_sizes(max_batch_size)
    tried: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(SCANS):
        for size in sizes:
            tried[size].append(size / fmean(run(size, SCAN_S)))
    return max(sizes, key=lambda size: median(tried[size]))


def expected_s(clients: int, repeats: int) -> float:
    """How long one point takes, with what the generators take to come up."""
    if clients > 1:
        return repeats * RATES * (BARE_S + RATE_S + 1.5)
    return repeats * LATENCIES * (BARE_S + LATENCY_S + 0.2)


def rates(run: Session, rows: int, point: Point, call: Call, repeats: int) -> Abreast:
    """Rows a second, of the server with its clients and of the session in batches of so many rows."""

    def bare() -> float:
        return rows * 1e3 / fmean(run(rows, BARE_S))

    def served(alone_s: float) -> float:
        return rows_per_s(completions(call, clients=point.clients, seconds=RATE_S), TOGETHER * alone_s)

    return Abreast(point, _turns(bare, lambda rate: served(1 / rate), RATES * repeats))


def latencies(run: Session, point: Point, call: Call, reply_bytes: int, repeats: int) -> Abreast:
    """Milliseconds at the median, of a request of the server and of a run of one row."""

    def bare() -> float:
        return median(run(1, BARE_S))

    def served(_: float) -> float:
        return load(call, clients=point.clients, seconds=LATENCY_S, reply_bytes=reply_bytes).p50_ms

    return Abreast(point, _turns(bare, served, LATENCIES * repeats))


def rows_per_s(seen: Completions, together_s: float) -> float:
    """From the first run that was answered to the last: what is under way at either end is cut off.

    The answers of one run come within `together_s` of each other. Raises `LoadFailed` if there are none of a
    second run, or if a request failed.
    """
    if seen.errors:
        raise LoadFailed(f"{seen.errors} requests failed")
    ended = sorted(seen.ended)
    later = [end for end in ended if end > ended[0] + together_s]
    if not later:
        raise LoadFailed(f"{len(ended)} answers tell no rate")
    return len(later) / (later[-1] - ended[0])


def _turns(bare: Callable[[], float], served: Callable[[float], float], turns: int) -> Sequence[Turn]:
    """What the server does between two of the session, who is told what the session did just before."""
    told: list[Turn] = []
    before = bare()
    for _ in range(turns):
        figure = served(before)
        after = bare()
        told.append(Turn(before, figure, after))
        before = after
    return told


def _main(repository: str, name: str) -> None:
    bare, row = Bare(version_folder(Path(repository), name)), MODELS[name].row()
    runners: dict[int, Callable[[], object]] = {}
    for line in sys.stdin:
        rows, seconds = line.split()
        size = int(rows)
        if size not in runners:
            runners[size] = bare.runner(row, size)
            runners[size]()  # the first takes longer
        print(json.dumps(_runs_ms(runners[size], float(seconds))), flush=True)


def _runs_ms(run: Callable[[], object], seconds: float) -> list[float]:
    """At least one."""
    runs_ms: list[float] = []
    end = time.perf_counter() + seconds
    while not runs_ms or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        runs_ms.append((time.perf_counter() - started) * 1e3)
    return runs_ms


if __name__ == "__main__":
    _main(*sys.argv[1:])
