"""The slots of one model version: which are idle, and when it is their turn on the devices they stand on."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from server.scheduling.resources import NO_NEEDS, Needs, Resources, ResourceShort
from server.scheduling.slot import Slot
from server.scheduling.turns import Seat, Turns


class Slots:
    """Lives on the event loop. `look` is called when it may be the version's turn; `begins_by` is a seat's.

    idle      the slots that no run is on
    are_limited   whether runs take resources of the rate limiter
    turn_ns   how long a batch has waited lately, on average, for runs of other versions
    """

    def __init__(self, turns: Turns, look: Callable[[], None], begins_by: Callable[[], float]) -> None:
        self._turns = turns
        self._resources = turns.resources
        self._look = look
        self._begins_by = begins_by
        self._all: Sequence[Slot] = ()
        self._seats: dict[str, Seat] = {}
        self._asked = 0
        self.idle: deque[Slot] = deque()
        self.turn_ns = 0.0
        self.are_limited = False

    def __len__(self) -> int:
        return len(self._all)

    @property
    def devices(self) -> Iterable[str]:
        return self._seats

    def resize(self, slots: Sequence[Slot], busy: Iterable[Slot], weight: float) -> None:
        """Have these slots from now on. A run that is on another one ends there.

        Raises `ResourceShort` if one of them could never run, and then nothing has changed.
        """
        taken = {id(slot) for slot in busy}
        if self._resources is not None:
            self._exchange(self._resources, self._all, slots)
        self._all = slots
        self.are_limited = any(self._needs(slot) for slot in slots)
        self.idle = deque(slot for slot in slots if id(slot) not in taken)
        for slot in slots:
            if slot.device not in self._seats:
                device = self._turns.device(slot.device)
                self._seats[slot.device] = device.seat(self._look, self._begins_by)
        self.share(weight)

    def _exchange(self, resources: Resources, old: Sequence[Slot], new: Sequence[Slot]) -> None:
        """The old ones go first: what they say of a resource does not bind those that come for them."""
        for slot in old:
            resources.leave(slot.needs)
        joined: list[Slot] = []
        try:
            for slot in new:
                resources.join(slot.needs)
                joined.append(slot)
        except ResourceShort:
            for slot in joined:
                resources.leave(slot.needs)
            for slot in old:
                resources.join(slot.needs)
            raise

    def share(self, weight: float) -> None:
        """What part of its devices is the version's, beside the weights of the others."""
        for slot in self._all:
            limited = self._resources is not None and slot.priority
            self._seats[slot.device].weight = weight / (slot.priority if limited else 1)

    def take(self, expect: Callable[[str], float], now: int) -> Slot | None:
        """An idle slot on whose device it is the version's turn, for a run that takes `expect(device)` ns.

        None if there is none yet: `look` is called when there may be one.
        """
        tried: set[str] = set()
        for slot in self.idle:
            if slot.device in tried and not self._needs(slot):
                continue
            if self._seats[slot.device].take(expect(slot.device), self._needs(slot)):
                self.idle.remove(slot)
                waited = now - self._asked if self._asked else 0
                self.turn_ns += (waited - self.turn_ns) / 8
                self._asked = 0
                return slot
            tried.add(slot.device)
        if len(self.idle) == len(self._all):  # else it waits for runs of its own, perhaps
            self._asked = self._asked or now
        return None

    def expected_ns(self, slot: Slot) -> float:
        """What was expected of the run for which this slot was taken last."""
        return self._seats[slot.device].wanted_ns

    def wait_ns(self) -> float:
        """Until a run could begin on one of the idle slots, of which there is one at least."""
        return min(self._seats[device].wait_ns() for device in {slot.device for slot in self.idle})

    @property
    def are_shared(self) -> bool:
        """Whether other versions want the devices, too."""
        return any(seat.is_shared for seat in self._seats.values())

    def give_back(self, slot: Slot, took_ns: int | None) -> None:
        """The run on it is over; None: it was done in place, and took no turn."""
        if slot in self._all:
            self.idle.append(slot)
        if took_ns is not None:
            self._seats[slot.device].give_back(took_ns, self._needs(slot))

    def leave(self) -> None:
        """No run is under way, and none follows."""
        for seat in self._seats.values():
            seat.leave()
        self._seats.clear()
        if self._resources is not None:
            for slot in self._all:
                self._resources.leave(slot.needs)
        self._all = ()

    def _needs(self, slot: Slot) -> Needs:
        return NO_NEEDS if self._resources is None else slot.needs
