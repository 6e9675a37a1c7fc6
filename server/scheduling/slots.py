"""The slots of one model version: which are idle, and when it is their turn on the devices they stand on."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from server.scheduling.resources import NO_NEEDS, Pool, ResourceShort
from server.scheduling.slot import Slot
from server.scheduling.turns import Seat, Turns

Place = tuple[str, tuple[tuple[Pool, int], ...], int]
"""What slots of one seat have in common: their device, what their runs need, and their priority."""


class Slots:
    """Lives on the event loop. `look` is called when it may be the version's turn; `begins_by` is a seat's.

    idle          the slots that no run is on
    weight        what part of its devices is the version's, beside the weights of the others
    only          the seat of all of them, where they stand alike
    are_limited   whether runs take resources of the rate limiter
    turn_ns       how long a batch has waited lately, on average, for runs of other versions
    """

    def __init__(
        self, turns: Turns, look: Callable[[], None], begins_by: Callable[[], float], *, weight: float = 1.0
    ) -> None:
        self._turns = turns
        self._resources = turns.resources
        self._look = look
        self._begins_by = begins_by
        self.weight = weight
        self._all: Sequence[Slot] = ()
        self._seats: dict[Place, Seat] = {}
        self._seat_of: dict[Slot, Seat] = {}
        self._asked = 0
        self.only: Seat | None = None
        self.idle: deque[Slot] = deque()
        self.turn_ns = 0.0
        self.are_limited = False

    def __len__(self) -> int:
        return len(self._all)

    @property
    def devices(self) -> Iterable[str]:
        return {slot.device for slot in self._all}

    def resize(self, slots: Sequence[Slot], busy: Iterable[Slot]) -> None:
        """Have these slots from now on. A run that is on another one ends there.

        Raises `ResourceShort` if one of them could never run, and then nothing has changed.
        """
        self._claim(slots)
        taken = {id(slot) for slot in busy}
        self._all = slots
        self.are_limited = self._resources is not None and any(slot.needs for slot in slots)
        self.idle = deque(slot for slot in slots if id(slot) not in taken)
        self._seat_of = {slot: seat for slot, seat in self._seat_of.items() if id(slot) in taken}
        for slot in slots:
            place = self._place(slot)
            if place not in self._seats:
                device, needs = self._turns.device(slot.device), dict(place[1]) or NO_NEEDS
                self._seats[place] = device.seat(self._look, self._begins_by, needs=needs)
            self._seat_of[slot] = self._seats[place]
        self.only = next(iter(self._seats.values())) if len(self._seats) == 1 else None
        self.share(self.weight)

    def share(self, weight: float) -> None:
        """What part of its devices is the version's, beside the weights of the others."""
        self.weight = weight
        for (_, _, priority), seat in self._seats.items():
            seat.weight = weight / (priority or 1)

    def take(self, expect: Callable[[str], float], now: int) -> Slot | None:
        """An idle slot on whose device it is the version's turn, for a run that takes `expect(device)` ns.

        None if there is none yet: `look` is called when there may be one.
        """
        refused: list[Seat] = []
        for slot in self.idle:
            seat = self._seat_of[slot]
            if seat in refused:
                continue
            if seat.take(expect(slot.device), now):
                self.idle.remove(slot)
                self._note_turn(now)
                return slot
            refused.append(seat)
        self._note_wait(now)
        return None

    def take_alike(self, seat: Seat, expected_ns: float, now: int) -> Slot | None:
        """As `take`, where `seat` is the only one."""
        seat.wanted_ns = expected_ns
        if not seat.device.give(seat, now):
            self._note_wait(now)
            return None
        if self._asked or self.turn_ns:
            self._note_turn(now)
        return self.idle.popleft()

    def _note_turn(self, now: int) -> None:
        waited = now - self._asked if self._asked else 0
        self.turn_ns += (waited - self.turn_ns) / 8
        self._asked = 0

    def _note_wait(self, now: int) -> None:
        if len(self.idle) == len(self._all):  # else it waits for runs of its own, perhaps
            self._asked = self._asked or now

    def want_nothing(self) -> None:
        """Whoever waited for a turn has left."""
        self._asked = 0

    def expected_ns(self, slot: Slot) -> float:
        """What was expected of the run for which this slot was taken last."""
        return self._seat_of[slot].wanted_ns

    def wait_ns(self) -> float:
        """Until a run could begin on one of the idle slots, of which there is one at least."""
        return min([seat.wait_ns() for seat in {self._seat_of[slot] for slot in self.idle}])

    def ground(self) -> tuple[str, int]:
        """The one device that all stand on, and the runs that it does at once; empty if there is none."""
        devices = list(self.devices)
        return (devices[0], self._turns.device(devices[0]).places) if len(devices) == 1 else ("", 0)

    @property
    def need_no_turns(self) -> bool:
        """Whether the version has its devices for itself, and limits on nothing."""
        only = self.only
        if only is not None:
            return only.device.seats == 1 and not self.are_limited
        return not self.are_limited and all(seat.is_alone for seat in self._seats.values())

    @property
    def are_shared(self) -> bool:
        """Whether other versions want the devices, too."""
        only = self.only
        if only is not None:
            return only.device.seats > 1 and only.is_shared
        return any(seat.is_shared for seat in self._seats.values())

    def give_back(self, slot: Slot, took_ns: int | None) -> None:
        """The run on it is over; None: it was done in place, and took no turn."""
        if slot in self._all:
            self.idle.append(slot)
        if took_ns is not None:
            seat = self.only or self._seat_of[slot]
            seat.device.take_back(seat, took_ns)

    def leave(self) -> None:
        """No run is under way, and none follows."""
        for seat in self._seats.values():
            seat.leave()
        self._seats.clear()
        self._seat_of.clear()
        self.only = None
        self._claim(())
        self._all = ()

    def _place(self, slot: Slot) -> Place:
        if self._resources is None:
            return slot.device, (), 0
        return slot.device, tuple(sorted(slot.needs.items())), slot.priority

    def _claim(self, slots: Sequence[Slot]) -> None:
        """Tell the rate limiter of these slots in place of those there were."""
        if self._resources is None:
            return
        for slot in self._all:
            self._resources.leave(slot.needs)
        joined: list[Slot] = []
        try:
            for slot in slots:
                self._resources.join(slot.needs)
                joined.append(slot)
        except ResourceShort:
            for slot in joined:
                self._resources.leave(slot.needs)
            for slot in self._all:
                self._resources.join(slot.needs)
            raise
