"""Counts requests that take more than one run: from their arrival to their answer, or their failure."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from server.domain.errors import ServingError
from server.observe.tally import Tally
from server.scheduling.counting import reason_of


@contextmanager
def failures_counted(tally: Tally, arrived: float) -> Iterator[None]:
    """`arrived` is of the monotonic clock, in seconds."""
    try:
        yield
    except (ServingError, asyncio.CancelledError) as error:
        reason = reason_of(error)
        if reason:
            tally.failed(reason, int((monotonic() - arrived) * 1e9))
        raise


@contextmanager
def counted(tally: Tally, arrived: float) -> Iterator[None]:
    """The same, and the answer if there is one."""
    with failures_counted(tally, arrived):
        yield
    took = monotonic() - arrived
    sums = tally.sums
    sums.success.add(1, int(took * 1e9))
    sums.request_s.add(took)
