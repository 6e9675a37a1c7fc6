"""Who could answer: what the way to another tier asks of those who know the tiers."""

from collections.abc import Sequence
from typing import Protocol

from server.domain.stage import StageName
from server.stages.hop.parcel import Carrier


class Endpoints(Protocol):
    def ready(self, stage: StageName, model: str, version: int, content: str) -> Sequence[Carrier]:
        """The processes of a tier that have this content of this version ready, the better ones alone.

        Asked for each bundle, so it is looked up and not worked out. Empty where there is none.
        """
        ...
