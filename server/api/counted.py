"""Statistics as doors ask for them, whoever has counted: this process, or the tiers behind it."""

from typing import Any, Protocol

from server.domain.catalogue import Catalogue
from server.domain.errors import StatisticsUnknown
from server.domain.labels import is_label
from server.wire.statistics import model_statistics


class Statistics(Protocol):
    async def of(self, model: str, version: str) -> dict[str, Any]:
        """As JSON, in the words of Triton's statistics extension; of all that serve if no model is named.

        Raises `StatisticsUnknown` if nobody of that name serves.
        """
        ...


class Counted:
    """What this process has counted itself."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def of(self, model: str, version: str) -> dict[str, Any]:
        if model and is_label(version):
            version = str(self._catalogue.facts(model, version).version)
        found = [
            facts
            for facts in self._catalogue.all_facts()
            if model in ("", facts.model) and version in ("", str(facts.version))
        ]
        if model and not found:
            raise StatisticsUnknown(model)
        return model_statistics(found)
