"""The codes of one door, and how often each error was given one.

A door looks an error up once, when it tells a caller of it. So the table knows what was refused, and no
request that is answered does anything for it. Only a stream that ends with its request's error looks twice.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from server.api.reply import Table
from server.domain.errors import ServingError
from server.wire.codes import Codes


class Refusals(Mapping[type[ServingError], Codes]):
    """Reads as `table`. Lives on the event loop."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._told: Counter[type[ServingError]] = Counter()

    def __getitem__(self, error: type[ServingError]) -> Codes:
        self._told[error] += 1
        return self._table[error]

    def __iter__(self) -> Iterator[type[ServingError]]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def told(self) -> Mapping[str, int]:
        """The name of each error that callers were told -> how often."""
        return {error.__name__: count for error, count in self._told.items()}
