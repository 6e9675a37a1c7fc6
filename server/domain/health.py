"""Whether the server has started, lives and is ready: three answers that mean different things."""

from collections.abc import Callable

from server.domain.phase import Phase, Station

MODEL_LACKING = "a model that was wanted at the start does not serve; the repository index says why"


class Health:
    """Asked by every door.

    started   whatever was wanted at the start has been tried, and came to something or not
    live      the process is up and not on its way out
    ready     it serves what it is required to serve
    leaving   it is on its way out, so it will not be ready again

    `why` tells why the models are not ready, while they are not; also from the start, where it knows.
    """

    def __init__(
        self,
        station: Station,
        models_ready: Callable[[], bool],
        why: Callable[[], str] | None = None,
    ) -> None:
        self._station = station
        self._models_ready = models_ready
        self._why = why

    @property
    def started(self) -> bool:
        return self._station.phase is not Phase.STARTING

    @property
    def live(self) -> bool:
        return self._station.phase is not Phase.STOPPING

    @property
    def leaving(self) -> bool:
        return self._station.phase >= Phase.LEAVING

    @property
    def ready(self) -> bool:
        return self._station.phase is Phase.SERVING and self._models_ready()

    @property
    def reason(self) -> str:
        """Why it is not ready."""
        if self.leaving:
            return "the server is stopping"
        if self._station.phase is Phase.STARTING:
            return "the server is still starting" + (f": {self._why()}" if self._why is not None else "")
        return MODEL_LACKING if self._why is None else self._why()
