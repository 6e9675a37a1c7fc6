"""Where a seat stands. The table is what the keeper moves by, and what its tests go through."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class SeatState(StrEnum):
    """
    WAITING       for its turn at the start
    STARTING      a process is there, and tries its models
    UP            it has tried them and answers; whether it is ready is another question
    BACKING_OFF   the last one has ended, and the next one is not started yet
    LEAVING       told to go
    GONE          there will be none any more
    """

    WAITING = "waiting"
    STARTING = "starting"
    UP = "up"
    BACKING_OFF = "backing_off"
    LEAVING = "leaving"
    GONE = "gone"


LEGAL: Mapping[SeatState, frozenset[SeatState]] = MappingProxyType(
    {
        SeatState.WAITING: frozenset({SeatState.STARTING, SeatState.GONE}),
        SeatState.STARTING: frozenset({SeatState.UP, SeatState.BACKING_OFF, SeatState.LEAVING}),
        SeatState.UP: frozenset({SeatState.BACKING_OFF, SeatState.LEAVING}),
        SeatState.BACKING_OFF: frozenset({SeatState.STARTING, SeatState.LEAVING}),
        SeatState.LEAVING: frozenset({SeatState.GONE}),
        SeatState.GONE: frozenset(),
    }
)
