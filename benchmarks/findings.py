"""Figures by name, and the aims that they are held against: for benchmarks of several parts.

A part that was not run leaves its figures out, and its promises are told as not measured.
"""

from collections.abc import Callable, Iterable, Iterator

from benchmarks.promises import Promise

Findings = dict[str, float | None]
"""By the key of each figure; None where it could not be measured."""


def verdicts(aims: Iterable[Promise[Findings]], findings: Findings) -> Iterator[str]:
    """A line for each promise: kept, missed, or not measured."""
    for promise in aims:
        figure = promise.figure(findings)
        yield promise.verdict(figure) if figure is not None else f"{promise.name:<58} {'not measured':>10}"


def aim(
    name: str, key: str, form: str, *, at_most: float | None = None, at_least: float | None = None
) -> Promise[Findings]:
    """What is promised of the figure with this key."""
    return Promise(name=name, figure=_found(key), form=form, at_most=at_most, at_least=at_least)


def _found(key: str) -> Callable[[Findings], float | None]:
    return lambda findings: findings.get(key)
