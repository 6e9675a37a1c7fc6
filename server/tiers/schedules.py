"""What is wanted of models' answers is the predict tier's to know: a gateway says so, and changes nothing."""

from collections.abc import Mapping

from server.domain.errors import ModelNotFound, NotSupported
from server.domain.scheduling import ModelScheduling
from server.lifecycle.table import Table


class Schedules:
    """Answers `server.domain.scheduling.Schedules`."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def of(self, model: str) -> ModelScheduling:
        raise self._refusal(model)

    def change(self, model: str, change: Mapping[str, float | None]) -> ModelScheduling:
        raise self._refusal(model)

    def _refusal(self, model: str) -> ModelNotFound | NotSupported:
        if model not in self._table.models:
            return ModelNotFound(model)
        return NotSupported(
            f"a gateway does not schedule '{model}': ask each process of the predict tier, or say it in the "
            "model's configuration"
        )
