"""The server's eviction on seeded traces, beside what others do and what could be done at best."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.lifecycle import zipf
from benchmarks.lifecycle.policies import Clairvoyant, ClassicGreedyDual, Lfu, Lru
from benchmarks.lifecycle.replay import Outcome, best_fixed_set, replay
from benchmarks.lifecycle.zipf import Trace
from benchmarks.promises import Promise
from server.lifecycle.residency.eviction import GreedyDual

MODELS, ROOM_FOR, SEED = 100, 10, 20261121
CROWDS = range(1, 6)
"""Seeds of unequal models. What can be won on them differs more from crowd to crowd than between policies."""

OURS, LRU, FIXED, BELADY = "tercet", "LRU", "best fixed set", "Belady"

Compared = Mapping[str, Outcome]
"""By the name of the policy."""


@dataclass(frozen=True, slots=True)
class EvictionFigures:
    """By the name of the trace."""

    traces: Mapping[str, Compared]


def measure_eviction(requests: int) -> EvictionFigures:
    """Always the same for as many requests. Takes about a minute for 20,000."""
    traces = {
        trace.name: trace
        for trace in (
            make(models=MODELS, room_for=ROOM_FOR, requests=requests, seed=SEED)
            for make in (zipf.equal, zipf.drifting, zipf.scanned)
        )
    }
    for seed in CROWDS:
        crowd = zipf.unequal(models=MODELS, room_for=ROOM_FOR, requests=requests // 4, seed=seed)
        traces[f"{crowd.name} {seed}"] = crowd
    return EvictionFigures({name: _compared(trace) for name, trace in traces.items()})


def _compared(trace: Trace) -> Compared:
    return {
        OURS: replay(trace, GreedyDual()),
        "GreedyDual, classic": replay(trace, ClassicGreedyDual()),
        LRU: replay(trace, Lru()),
        "LFU": replay(trace, Lfu()),
        FIXED: best_fixed_set(trace),
        BELADY: replay(trace, Clairvoyant(trace)),
    }


def lines(figures: EvictionFigures) -> Iterator[str]:
    """A table: the share of requests that need not wait for a load, and the seconds that loads take."""
    names = list(next(iter(figures.traces.values())))
    yield "hit rate | seconds of loading"
    yield "".join((f"{'':<18}", *(f"{name:>21}" for name in names)))
    for trace, compared in figures.traces.items():
        cells = (f"{each.hit_rate:>10.1%} |{each.reload_s:>7,.0f} s" for each in compared.values())
        yield "".join((f"{trace:<18}", *(f"{cell:>21}" for cell in cells)))


def as_json(figures: EvictionFigures) -> dict[str, Any]:
    return {
        trace: {name: asdict(outcome) for name, outcome in compared.items()}
        for trace, compared in figures.traces.items()
    }


def _against(trace: str, other: str) -> Callable[[EvictionFigures], float]:
    def figure(figures: EvictionFigures) -> float:
        compared = figures.traces[trace]
        return compared[OURS].hit_rate / compared[other].hit_rate

    return figure


def _reloads(figures: EvictionFigures) -> float:
    crowds = [each for trace, each in figures.traces.items() if trace.startswith("unequal")]
    return sum(each[OURS].reload_s for each in crowds) / sum(each[LRU].reload_s for each in crowds)


PROMISES: tuple[Promise[EvictionFigures], ...] = (
    Promise(
        name="100 models, room for 10: hit rate over LRU's",
        figure=_against("equal sizes", LRU),
        form=".2f",
        at_least=1.2,
    ),
    Promise(
        name="100 models, room for 10: over the best fixed set's",
        figure=_against("equal sizes", FIXED),
        form=".3f",
        at_least=0.88,
    ),
    Promise(
        name="five crowds of unequal sizes: loading s over LRU's",
        figure=_reloads,
        form=".2f",
        at_most=0.8,
    ),
)
