"""What coming into memory and leaving it has cost, as plain numbers.

Written on the event loop when a version comes or goes, read when metrics are scraped.
"""

from collections import Counter

from server.observe.histogram import SECONDS, Histogram

STAY_SECONDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)


class ResidencyTally:
    """Of all versions.

    cold       requests that found their version not in memory, by model and version
    wait_s     how long each of those that had an answer waited until it was
    evictions  by model, version and reason
    stay_s     how long those had been in memory
    """

    def __init__(self) -> None:
        self.cold: Counter[tuple[str, str]] = Counter()
        self.wait_s = Histogram(SECONDS)
        self.evictions: Counter[tuple[str, str, str]] = Counter()
        self.stay_s = Histogram(STAY_SECONDS)

    def evicted(self, model: str, version: int, reason: str, stayed_s: float) -> None:
        self.evictions[model, str(version), reason] += 1
        self.stay_s.add(stayed_s)

    def forget(self, model: str, version: int) -> None:
        """The repository has it no more."""
        self.cold.pop((model, str(version)), None)
        for key in [key for key in self.evictions if key[:2] == (model, str(version))]:
            del self.evictions[key]
