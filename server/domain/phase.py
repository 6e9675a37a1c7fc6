"""Where the whole server stands between its start and its end."""

from enum import IntEnum

from server.domain.errors import ServerStopping


class Phase(IntEnum):
    """In the order in which a server goes through them.

    STARTING   the first models are still being tried
    SERVING    as usual
    LEAVING    not ready any more, and still serving: load balancers are given time to notice
    STOPPING   takes nothing new, and finishes what it has
    """

    STARTING = 0
    SERVING = 1
    LEAVING = 2
    STOPPING = 3


class Station:
    """The phase of this process: the app moves it on, the doors ask.

    is_stopping   whether nothing new is taken: every request asks
    """

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.is_stopping = False

    def move_to(self, phase: Phase) -> None:
        """Only ever forward."""
        self.phase = max(self.phase, phase)
        self.is_stopping = self.phase is Phase.STOPPING

    def admit(self) -> None:
        """Raises `ServerStopping` if nothing new is taken."""
        if self.is_stopping:
            raise ServerStopping()
