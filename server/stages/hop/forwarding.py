"""Where a tier sends what it has done its part of: a sender for each version and the rest of its route."""

from collections import OrderedDict
from dataclasses import replace
from functools import partial

from server.observe.tally import Tally
from server.stages.hop.endpoints import Endpoints
from server.stages.hop.hedging import Hedges
from server.stages.hop.keyed import by_key
from server.stages.hop.retries import RetryBudget
from server.stages.hop.sender import Sender
from server.stages.hop.way import Way

PATIENCE_S = 1.5
"""Whoever sends a request here has seen every tier ready for it: this process may hear of the next one, or
reach it again, a moment later."""

MOST = 512
"""Senders that are kept; the longest unused goes first."""


class Forwarding:
    """Lives on the event loop. What is on its way belongs to the requests that wait for it.

    hedges   requests that went to two endpoints
    """

    def __init__(self, endpoints: Endpoints, *, max_waiting: int) -> None:
        self._endpoints = endpoints
        self._max_waiting = max_waiting
        self._budget = RetryBudget()
        self.hedges = Hedges()
        self._senders: OrderedDict[Way, Sender] = OrderedDict()

    def sender(self, way: Way) -> Sender:
        """The way to the next tier. What code has made is stacked: only the model knows what rows it has."""
        sender = self._senders.get(way)
        if sender is None:
            make = partial(
                Sender,
                replace(way, stacked=True, row_bytes=0),
                tally=Tally(),
                max_waiting=self._max_waiting,
                budget=self._budget,
                hedges=self.hedges,
                patience_s=PATIENCE_S,
            )
            sender = self._senders[way] = by_key(way, self._endpoints, make)
            if len(self._senders) > MOST:
                self._senders.popitem(last=False)
        self._senders.move_to_end(way)
        return sender
