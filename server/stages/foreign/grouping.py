"""Which requests of a parcel go to another server as one, where it batches. Pure."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Asking(NamedTuple):
    """What decides of one request.

    rows       of its inputs
    manner     only requests of equal manner go together; None goes alone
    """

    rows: int
    manner: Hashable | None


def grouped(requests: Sequence[Asking], most_rows: int) -> list[list[int]]:
    """The places of those that go together, in their order; `most_rows` is 0 where none may."""
    groups: list[list[int]] = []
    open_to: dict[Hashable, tuple[list[int], int]] = {}
    for place, (rows, manner) in enumerate(requests):
        group, taken = open_to.get(manner, ([], 0))
        if manner is None or not most_rows or not group or taken + rows > most_rows:
            group, taken = [], 0
            groups.append(group)
        group.append(place)
        if manner is not None:
            open_to[manner] = group, taken + rows
    return groups
