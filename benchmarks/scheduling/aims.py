"""What we promise of scheduling, each promise with its aim; the aims are those of the issue "Scheduling"."""

from collections.abc import Callable, Iterator, Mapping

from benchmarks.promises import Promise

Findings = Mapping[str, float | None]
"""By the key of each figure; None where it could not be measured."""


def verdicts(findings: Findings) -> Iterator[str]:
    """A line for each promise: kept, missed, or not measured."""
    for promise in AIMS:
        figure = promise.figure(findings)
        yield promise.verdict(figure) if figure is not None else f"{promise.name:<58} {'not measured':>10}"


def _found(key: str) -> Callable[[Findings], float | None]:
    return lambda findings: findings.get(key)


def _aim(
    name: str, key: str, form: str, *, at_most: float | None = None, at_least: float | None = None
) -> Promise[Findings]:
    return Promise(name=name, figure=_found(key), form=form, at_most=at_most, at_least=at_least)


AIMS = (
    *(
        aim
        for where in ("simulated", "live")
        for aim in (
            _aim(
                f"{where}: goodput over the best fixed, any load",
                f"{where} against fixed",
                ".3f",
                at_least=1.0,
            ),
            _aim(f"{where}: goodput of capacity at 1.0 to 2.0", f"{where} of capacity", ".1%", at_least=0.9),
            _aim(f"{where}: p99 of the answered over the target", f"{where} p99", ".2f", at_most=1.0),
            _aim(f"{where}: p99 of a refusal, ms", f"{where} p99 refusal", ".1f", at_most=5.0),
        )
    ),
    _aim("live: runs that took within 10 % of the prediction", "predicted", ".1%", at_least=0.95),
    _aim("scheduler's CPU us/request in batches", "cost in batches", ".1f", at_most=3.0),
    _aim("scheduler's CPU us/request alone", "cost alone", ".1f", at_most=10.0),
    *(
        _aim(f"{where}: {name} requests in time", f"{key} {where}", ".2%", at_least=0.99)
        for key, name in (("fast", "fast beside slow:"), ("steady", "steady beside flood:"))
        for where in ("simulated", "live")
    ),
)
