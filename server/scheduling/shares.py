"""Which client's request is next, so that each gets its share of a queue: start-time fair queueing.

Pure: no clock, no queue. The queue asks for a tag when a ticket joins, takes the ticket with the lowest tag
first, and tells when one is taken or leaves. A client that asks for much then waits for itself, not the
others: between any two clients that both have something waiting, what was taken differs by no more than one
ticket of each, whatever else comes and goes.

Source: P. Goyal, H. M. Vin and H. Cheng, "Start-time Fair Queueing: A Scheduling Algorithm for Integrated
Services Packet Switching Networks", SIGCOMM 1996: start tags, virtual time and, for the bound, theorem 1; all
clients have the weight 1.
"""

MOST_RESTING = 1024
"""Clients with nothing waiting that are remembered, as they are ahead of their share."""


class Shares:
    """The tags of one queue.

    A client with nothing waiting is remembered as long as it may be ahead of virtual time. With more than
    `most_resting` of them, those that are not ahead are forgotten, and then the least ahead, down to half:
    with as many names as that, a share is worth little. Once nobody waits, all are forgotten.
    """

    def __init__(self, most_resting: int = MOST_RESTING) -> None:
        self._most_resting = most_resting
        self._now = 0.0
        self._finish: dict[str, float] = {}
        self._waiting: dict[str, int] = {}

    def __len__(self) -> int:
        """How many clients are remembered."""
        return len(self._finish)

    def waiting(self, client: str) -> int:
        """How many tickets of a client wait."""
        return self._waiting.get(client, 0)

    def start(self, client: str) -> float:
        """The tag that a ticket of this client would get now."""
        return max(self._now, self._finish.get(client, 0.0))

    def tag(self, client: str, cost: float) -> float:
        """A ticket joins; lower tags go first, and equal ones in the order of joining.

        `cost` is what the ticket takes of what is shared: its rows, or its expected time; above 0.
        """
        start = self.start(client)
        self._finish[client] = start + cost
        self._waiting[client] = self._waiting.get(client, 0) + 1
        return start

    def taken(self, client: str, tag: float) -> None:
        """A ticket goes to be run: virtual time is its tag now, if it was not beyond that."""
        self._now = max(self._now, tag)
        self._one_less(client)

    def withdrawn(self, client: str, cost: float) -> None:
        """A ticket leaves without being run; its client has not had what it cost."""
        self._finish[client] -= cost
        self._one_less(client)

    def gives_way(self, newcomer: str) -> str | None:
        """Whose newest ticket is refused in place of one of `newcomer`, when the queue is full.

        The client's that has most waiting, if that is still more than what the newcomer has with its new one:
        so they never push each other out in turn. None refuses the newcomer. Looks at each client that waits.
        """
        most = max(self._waiting, key=lambda client: self._waiting[client], default=None)
        if most is not None and self._waiting[most] > self.waiting(newcomer) + 1:
            return most
        return None

    def _one_less(self, client: str) -> None:
        left = self._waiting[client] - 1
        if left:
            self._waiting[client] = left
            return
        del self._waiting[client]
        if not self._waiting:  # nobody is behind anybody: the busy period is over
            self._now = max(self._now, *self._finish.values())
            self._finish.clear()
        elif self._finish[client] <= self._now:
            del self._finish[client]
        elif len(self._finish) - len(self._waiting) > self._most_resting:
            self._forget()

    def _forget(self) -> None:
        """Forget those that are not ahead any more, and of the others the least ahead, down to half."""
        resting = sorted(
            (finish, client) for client, finish in self._finish.items() if client not in self._waiting
        )
        ahead = [client for finish, client in resting if finish > self._now]
        kept = {*ahead[len(ahead) - min(len(ahead), self._most_resting // 2) :]}
        for _, client in resting:
            if client not in kept:
                del self._finish[client]
