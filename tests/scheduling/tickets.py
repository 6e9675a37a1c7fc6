"""Tickets for tests: told once, and remembering what they were told."""

import numpy as np

from server.scheduling.ticket import Lane, Ticket


def ticket(
    rows: int = 1, lane: Lane = None, priority: int = 0, queued: int = 0, order: float = 0.0
) -> Ticket:
    made = Ticket({"X": np.zeros((rows, 4), np.float32)}, rows, lambda _: None, lane, priority=priority)
    made.queued = queued
    made.order = order
    return made
