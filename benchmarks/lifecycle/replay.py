"""Replays a trace through the server's accountant and its decisions, with any order of eviction.

Without a clock or a load: a request for what is in memory is a hit, and any other one loads.
"""

from collections import Counter
from dataclasses import dataclass

from benchmarks.lifecycle.policies import Policy, key_of
from benchmarks.lifecycle.zipf import Trace
from server.lifecycle.residency.accountant import Accountant
from server.lifecycle.residency.decision import Evict, Resident, decide

DEVICE = "cpu"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    hit_rate      of all requests, those that found their model in memory
    reload_s      seconds of loading, all together
    """

    hit_rate: float
    reload_s: float


def replay(trace: Trace, policy: Policy) -> Outcome:
    accountant = Accountant({DEVICE: trace.budget})
    hits, reload_s = 0, 0.0
    for now, number in enumerate(trace.requests):
        key = key_of(number)
        if accountant.held(key):
            hits += 1
        else:
            needs = {DEVICE: trace.sizes[number]}
            residents = accountant.residents()
            said = decide(
                needs,
                accountant.books(),
                [Resident(key=each, bytes=residents[each]) for each in policy.order(residents)],
                now,
            )
            for going in said.keys if isinstance(said, Evict) else ():
                accountant.gone(going)
                policy.note_eviction(going)
            accountant.settle(accountant.reserve(key, needs), needs)
            policy.note_load(key, trace.sizes[number], trace.loads_s[number])
            reload_s += trace.loads_s[number]
        policy.note_use(key, now)
    return Outcome(hits / len(trace.requests), reload_s)


def best_fixed_set(trace: Trace) -> Outcome:
    """The models worth most for their size are there from the start and stay; others load each time."""
    asked = Counter(trace.requests)
    by_worth = sorted(
        asked, key=lambda number: asked[number] * trace.loads_s[number] / trace.sizes[number], reverse=True
    )
    kept, left = set(), trace.budget
    for number in by_worth:
        if trace.sizes[number] <= left:
            kept.add(number)
            left -= trace.sizes[number]
    hits = sum(asked[number] for number in kept)
    reload_s = sum(asked[number] * trace.loads_s[number] for number in asked.keys() - kept)
    return Outcome(hits / len(trace.requests), reload_s)
