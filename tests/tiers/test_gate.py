import time

import pytest

from server.domain.errors import TierUnavailable
from server.domain.request import FOREVER
from server.scheduling.ticket import Ticket
from server.tiers.gate import Gate
from tests.wire.test_metadata import facts


class Taken(list[Ticket]):
    """A queue that only takes."""

    def submit(self, ticket: Ticket) -> None:
        self.append(ticket)


def test_a_request_is_refused_at_once_where_a_tier_is_away():
    taken, of_model = Taken(), facts()
    gate = Gate(of_model, taken)
    ticket = Ticket({}, 1, lambda _: None, (), FOREVER, time.monotonic())
    gate.submit(ticket)
    gate.lacks = "post"
    with pytest.raises(
        TierUnavailable, match=r"^the post tier cannot answer for model 'tiny': it has no endpoint"
    ):
        gate.submit(ticket)
    gate.lacks = None
    gate.submit(ticket)
    assert taken == [ticket, ticket]
    assert of_model.tally.failures["OTHER"] == 1, "who asks for statistics sees it"
