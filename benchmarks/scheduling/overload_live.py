"""Overload against a live server: a convolutional network on the CPU, each setting a model of its own.

The target and the best fixed settings take turns at each load, for the machine is not the same from minute
to minute: what it can answer is measured before each round and after it, the load is that of the moment, and
goodputs are held against each other round by round. There are as many rounds at a load as bring the error of
that below what may be left of it (Chow and Robbins, "On the asymptotic theory of fixed-width sequential
confidence intervals", 1965), within bounds.

What was foretold is promised for a quiet machine, so those rounds count in which it was (`stillness`). How
much of a missed prediction is the machine's shows beside it: a session without a server, foretold by the
median of its own last runs. At the lightest load most runs come after a rest, from which a processor wakes as
it likes; so that is held against single rows of the bare session that do, too, and there all rounds count.
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, median

from benchmarks import load_python
from benchmarks.call import Door
from benchmarks.codec import encode
from benchmarks.scheduling.live import cnn_row, fixed, lay_cnn, target
from benchmarks.scheduling.overload import LOADS, MOST_DOUBT, Comparison, Point, compared_in_turn, point
from benchmarks.scheduling.predictions import Bare, Foretold, ask, bare, since, told_of
from benchmarks.scheduling.replay import ServedModel, replay
from benchmarks.scheduling.stillness import is_still, stolen_s
from benchmarks.scheduling.traces import for_seconds, poisson
from benchmarks.server_under_test import ServerUnderTest, tercet

MAX_BATCH_SIZE = 8
TARGET_RUNS = 5
"""The target is so many full batches: one that runs, one's own, and room for a machine that is not still."""

SEARCH_SEED, SEED = 1, 2
FINALISTS = 2
BARE_ROUNDS = 4
"""So many times as long as a round has for a contender, a session without a server is run."""

LEAST_ROUNDS, MOST_ROUNDS = 8, 32
"""A contender's five seconds differ by 3 to 6 % from round to round: ten to twenty leave a doubt of 3 %."""

GRID = {
    f"delay {delay} us, batch {rows}, queue {waiting}": (delay, rows, waiting)
    for delay, rows, waiting in product((0, 10_000), (2, MAX_BATCH_SIZE), (8, 16, 32))
}
TARGET = "latency target"
FULL = "full"
ALWAYS_FULL = fixed(max_queue_delay_us=0, max_queue_size=1000)
"""Of the model that capacity is measured with."""

Measured = Callable[[str, float, float, int, float], Point]
"""A setting under a load for some seconds, of a trace of that seed, over the capacity of the moment."""


@dataclass(frozen=True, slots=True)
class Round:
    """Each contender once.

    points         the target's first
    before, after  rows a second that the server could answer
    stolen         the share of the processors' time that others had
    foretold       the target's runs
    """

    points: list[Point]
    before: float
    after: float
    stolen: float
    foretold: Foretold

    @property
    def is_quiet(self) -> bool:
        return is_still(self.stolen, self.before, self.after)


@dataclass(frozen=True, slots=True)
class Live:
    """
    capacity    rows a second that the server answers when its queue is never empty, as the target has it
    rounds      of each load
    alone       the runs of a session without a server
    late_ms     by which the generator sent late at p99, the median of all drives
    """

    capacity: float
    target_s: float
    comparisons: list[Comparison]
    rounds: list[list[Round]]
    alone: Bare
    late_ms: float

    @property
    def foretold(self) -> list[float | None]:
        """Of each load, the share of the target's runs that took within a tenth of what was expected."""
        return [sum((each.foretold for each in rounds), Foretold()).share for rounds in self.rounds]

    @property
    def foretold_when_quiet(self) -> list[float | None]:
        """The same of the rounds in which the machine was."""
        return [
            sum((each.foretold for each in rounds if each.is_quiet), Foretold()).share
            for rounds in self.rounds
        ]


def compare(
    *, seconds: float, search_seconds: float, say: Callable[[str], None], most_rounds: int = MOST_ROUNDS
) -> Live:
    """`seconds` has a contender in each round."""
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
        folder = Path(scratch)
        repository = folder / "models"
        lay_cnn(repository, FULL, max_batch_size=MAX_BATCH_SIZE, settings=ALWAYS_FULL)
        with tercet(repository, folder / "one.log") as server:
            capacity = _most_capacity(server, search_seconds)
        target_s = round(TARGET_RUNS * MAX_BATCH_SIZE / capacity, 3)
        say(f"live: {capacity:.0f} rows/s, target {target_s * 1e3:.0f} ms")
        for number, (delay, rows, waiting) in enumerate(GRID.values()):
            settings = fixed(max_queue_delay_us=delay, max_queue_size=waiting)
            lay_cnn(repository, f"fixed{number}", max_batch_size=rows, settings=settings)
        lay_cnn(repository, "target", max_batch_size=MAX_BATCH_SIZE, settings=target(target_s))
        late_ms: list[float] = []
        names = {setting: f"fixed{number}" for number, setting in enumerate(GRID)} | {TARGET: "target"}
        with tercet(repository, folder / "server.log") as server:

            def measured(setting: str, load: float, seconds: float, seed: int, now: float) -> Point:
                """Over what the machine can answer now."""
                trace = for_seconds(poisson("cnn", load * now, seed=seed), seconds)
                model = ServedModel(name="cnn", target_s=target_s, row=cnn_row(), asked=names[setting])
                outcome = replay(trace, [model], server)
                late_ms.append(outcome.late_ms)
                return point(
                    outcome.models["cnn"],
                    load=load,
                    setting=setting,
                    seconds=seconds,
                    capacity=now,
                    target_s=target_s,
                )

            for setting in names:  # each has run, and the target has learnt, before anything counts
                measured(setting, LOADS[0], search_seconds, SEARCH_SEED, capacity)
            comparisons, rounds = [], []
            for load in LOADS:
                say(f"live: load {load}, {len(GRID)} fixed settings")
                capacity_now = partial(_capacity, server, search_seconds)
                best = _finalists(load, measured, capacity_now(), search_seconds)
                ask_now = partial(ask, server, "target")
                taken = _in_turn(load, best, measured, capacity_now, ask_now, seconds, most_rounds)
                comparisons.append(_compared(taken))
                rounds.append(taken)
                quiet = sum(each.is_quiet for each in taken)
                say(f"live: {len(taken)} rounds, {quiet} of them while the machine was quiet")
        alone = bare(folder / "bare", BARE_ROUNDS * seconds)
        say(f"live: {alone.foretold:.1%} of a bare session's runs are within a tenth of the median before")
        say(f"live: one in a hundred of them takes {alone.slow:.1f} times the median and more")
        say(f"live: {alone.rested:.1%} of its single rows are, that come after a rest")
        late = median(late_ms)
        say(f"live: the generator sent {late:.1f} ms late at p99")
        return Live(capacity, target_s, comparisons, rounds, alone, late)


def _finalists(load: float, measured: Measured, now: float, seconds: float) -> list[str]:
    """The fixed settings that did best at so much of what the machine can answer now, the best one last."""
    found = {each: measured(each, load, seconds, SEARCH_SEED, now).goodput for each in GRID}
    return sorted(found, key=found.__getitem__)[-FINALISTS:]


def _in_turn(
    load: float,
    best: Sequence[str],
    measured: Measured,
    capacity_now: Callable[[], float],
    ask_now: Callable[[], Mapping[float, float]],
    seconds: float,
    most: int,
) -> list[Round]:
    """The target and its best rivals, round after round, at so much of what the machine can answer then."""
    rounds: list[Round] = []
    before = capacity_now()
    while len(rounds) < LEAST_ROUNDS or (len(rounds) < most and _is_in_doubt(rounds)):
        turn = len(rounds)
        runs, stolen, began = ask_now(), stolen_s(), time.monotonic()
        order = (TARGET, *best) if turn % 2 else (*best[::-1], TARGET)
        turns = {each: measured(each, load, seconds, SEED + turn, before) for each in order}
        stolen = (stolen_s() - stolen) / (time.monotonic() - began) / (os.cpu_count() or 1)
        after = capacity_now()
        share = before / mean((before, after))
        points = [replace(turns[each], goodput=turns[each].goodput * share) for each in (TARGET, *best)]
        rounds.append(Round(points, before, after, stolen, told_of(since(runs, ask_now()))))
        before = after
    return rounds


def _compared(rounds: Sequence[Round]) -> Comparison:
    ours, *fixed_ones = zip(*(each.points for each in rounds), strict=True)
    return compared_in_turn(ours, fixed_ones)


def _is_in_doubt(rounds: Sequence[Round]) -> bool:
    return len(rounds) % 2 == 1 or 2 * _compared(rounds).error > MOST_DOUBT


def _most_capacity(server: ServerUnderTest, seconds: float) -> float:
    """The best of three: a busy moment of the machine would make every target look light."""
    return max([_capacity(server, seconds) for _ in range(4)][1:])  # the first warms up


def _capacity(server: ServerUnderTest, seconds: float) -> float:
    """Requests of one row that the server answers a second, with twice a batch of callers at all times."""
    call = encode(Door.BINARY, FULL, cnn_row(), http_port=server.http_port, grpc_port=server.grpc_port)
    seconds = max(2.0, seconds / 2)  # on a busy machine one second may see no answer at all
    return load_python.run(call, clients=2 * MAX_BATCH_SIZE, seconds=seconds).requests_per_s
