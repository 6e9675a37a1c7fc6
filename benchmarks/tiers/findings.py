"""What is promised of tiers, each promise with its aim; the aims are those of the issue "Three tiers"."""

from collections.abc import Callable, Iterator

from benchmarks.promises import Promise

Findings = dict[str, float | None]
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
        for door in ("grpc", "binary")
        for aim in (
            _aim(
                f"tiny, {door}, 64 clients: CPU of both tiers over fused",
                f"hop cpu ratio {door}",
                ".2f",
                at_most=2.2,
            ),
            _aim(f"tiny, {door}, 64 clients: CPU us of both tiers", f"hop cpu {door}", ".1f", at_most=41),
            _aim(f"tiny, {door}, alone: ms that the hop adds", f"hop alone {door}", ".2f", at_most=0.5),
        )
    ),
    _aim("digits, PNG files: share of the slowest stage", "digits share", ".1%", at_least=0.85),
    _aim("photos, JPEG files: share of the slowest stage", "photos share", ".1%", at_least=0.85),
    _aim("pre of 20 ms: two processes over one", "pre processes", ".2f", at_least=1.6),
    _aim("4 MB in one process: copies of the payload", "copies fused", ".2f", at_most=0),
    _aim("4 MB over the hop: copies on the sender's side", "copies sent", ".2f", at_most=1),
    _aim("4 MB over the hop: copies on the receiver's side", "copies received", ".2f", at_most=1),
)
"""41 us is what Triton's C++ server spends in one process."""
