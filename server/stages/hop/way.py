"""The way of a version: which tiers its requests go through, and what they have in common."""

from dataclasses import dataclass

from server.domain.stage import StageName


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where the requests of a version go.

    route      the stages that are left, the first being the next tier's
    content    of the version that is meant, and no other
    stacked    whether its requests have no rows of their own: a parcel then has one of each
    row_bytes  of the inputs of one row, where that is known; else 0
    max_rows   in one parcel
    hedge_ms   after which a request that is unanswered goes to a second endpoint too; None for never
    """

    route: tuple[StageName, ...]
    model: str
    version: int
    content: str
    stacked: bool
    row_bytes: int
    max_rows: int
    hedge_ms: float | None = None

    @property
    def has_code(self) -> bool:
        """Whether code of the version's own is on the way: it sees more of a request than its tensors."""
        return self.route != ("predict",)
