"""The three stages of a version, in their order, and what one of them took."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

StageName = Literal["pre", "predict", "post"]

STAGES: tuple[StageName, ...] = ("pre", "predict", "post")


class Span(NamedTuple):
    """One stage's part in an answer that came from another process.

    queue_ns      until its run or its code began
    compute_ns    in its run or its code
    rows          of the run; 0 for code
    transfer_ns   there and back again, where another stage came behind it: without what that one took
    """

    stage: StageName
    queue_ns: int
    compute_ns: int
    rows: int = 0
    transfer_ns: int = 0


Spans = Sequence[Span]
