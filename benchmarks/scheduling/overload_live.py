"""Overload against a live server: a convolutional network on the CPU, each setting a model of its own.

The target and the best fixed settings take turns at each load, for the machine is not the same from minute
to minute: goodputs are held against each other round by round, and the error of that is told.
How much of a missed prediction is the machine's shows beside it: a session without a server, foretold by the
median of its own last runs.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks import load_python
from benchmarks.call import Door
from benchmarks.codec import encode
from benchmarks.scheduling.live import cnn_row, fixed, lay_cnn, target
from benchmarks.scheduling.overload import LOADS, Comparison, Point, compared_in_turn, point
from benchmarks.scheduling.predictions import bare_share, share_within
from benchmarks.scheduling.replay import ServedModel, replay
from benchmarks.scheduling.traces import for_seconds, poisson
from benchmarks.server_under_test import tercet

MAX_BATCH_SIZE = 8
TARGET_RUNS = 5
"""The target is so many full batches: one that runs, one's own, and room for a machine that is not still."""

SEARCH_SEED, SEED = 1, 2
FINALISTS = 2
ROUNDS = 12
GRID = {
    f"delay {delay} us, batch {rows}, queue {waiting}": (delay, rows, waiting)
    for delay, rows, waiting in product((0, 10_000), (2, MAX_BATCH_SIZE), (8, 16, 32))
}
TARGET = "latency target"


@dataclass(frozen=True, slots=True)
class Live:
    """
    capacity    rows a second that the server answers when its queue is never empty
    predicted   share of the target's runs that were predicted within a tenth; None if it does not tell
    bare        the same of a session without a server, by the median of its last runs
    rounds      of each load, what each contender did in turn
    """

    capacity: float
    target_s: float
    comparisons: list[Comparison]
    predicted: float | None
    bare: float
    rounds: list[list[Point]]


def compare(*, seconds: float, search_seconds: float, say: Callable[[str], None]) -> Live:
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
        folder = Path(scratch)
        capacity = _capacity(folder, search_seconds)
        target_s = round(TARGET_RUNS * MAX_BATCH_SIZE / capacity, 3)
        say(f"live: {capacity:.0f} rows/s, target {target_s * 1e3:.0f} ms")
        repository = folder / "models"
        for number, (delay, rows, waiting) in enumerate(GRID.values()):
            settings = fixed(max_queue_delay_us=delay, max_queue_size=waiting)
            lay_cnn(repository, f"fixed{number}", max_batch_size=rows, settings=settings)
        lay_cnn(repository, "target", max_batch_size=MAX_BATCH_SIZE, settings=target(target_s))
        names = {setting: f"fixed{number}" for number, setting in enumerate(GRID)} | {TARGET: "target"}
        with tercet(repository, folder / "server.log") as server:

            def measured(setting: str, load: float, seconds: float, seed: int) -> Point:
                trace = for_seconds(poisson("cnn", load * capacity, seed=seed), seconds)
                model = ServedModel(name="cnn", target_s=target_s, row=cnn_row(), asked=names[setting])
                return point(
                    replay(trace, [model], server).models["cnn"],
                    load=load,
                    setting=setting,
                    seconds=seconds,
                    capacity=capacity,
                    target_s=target_s,
                )

            for setting in names:  # each has run, and the target has learnt, before anything counts
                measured(setting, LOADS[0], search_seconds, SEARCH_SEED)
            comparisons = []
            rounds = []
            for load in LOADS:
                say(f"live: load {load}, {len(GRID)} fixed settings")
                found = {each: measured(each, load, search_seconds, SEARCH_SEED).goodput for each in GRID}
                best = sorted(found, key=found.__getitem__)[-FINALISTS:]
                taken = [
                    [measured(each, load, seconds / ROUNDS, SEED + turn) for each in (TARGET, *best)]
                    for turn in range(ROUNDS)
                ]
                ours, *fixed_ones = zip(*taken, strict=True)
                comparisons.append(compared_in_turn(ours, fixed_ones))
                rounds += taken
            predicted = share_within(server, "target")
        bare = bare_share(folder / "bare", seconds / ROUNDS)
        say(f"live: {bare:.1%} of the runs of a bare session are within a tenth of the median of the last")
        return Live(capacity, target_s, comparisons, predicted, bare, rounds)


def _capacity(folder: Path, seconds: float) -> float:
    """Requests of one row that the server answers a second, with twice a batch of callers at all times.

    The best of three: a busy moment of the machine would make every load look light.
    """
    repository = folder / "one"
    lay_cnn(
        repository,
        "cnn",
        max_batch_size=MAX_BATCH_SIZE,
        settings=fixed(max_queue_delay_us=0, max_queue_size=1000),
    )
    with tercet(repository, folder / "one.log") as server:
        call = encode(Door.BINARY, "cnn", cnn_row(), http_port=server.http_port, grpc_port=server.grpc_port)
        seconds = max(3.0, seconds)  # on a busy machine one second may see no answer at all
        samples = [load_python.run(call, clients=2 * MAX_BATCH_SIZE, seconds=seconds) for _ in range(4)]
        return max(sample.requests_per_s for sample in samples[1:])  # the first warms up
