"""Who may run next on a device that several models share.

A device has so many places, each for one run. A batcher takes a seat on each device that its instances
stand on, and asks for a turn when it has a batch; if there is none it is called back when there is. So a
batch is formed when its turn comes, not before, and nobody holds a place while it waits for another one.

Turns go by deadline among those who are not ahead of their shares: each seat has used so much of the device
for its weight, and of those that have used the least, up to one run, the one that must begin first is first.
So a flood on one model cannot starve another, whatever its deadlines. A run cannot be stopped: while long
ones hold all places, much shorter ones go beside them, in a few express places.

Source for the shares: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996). Lives on the event loop.
"""

import asyncio
from collections.abc import Callable, Iterator
from time import monotonic_ns

from server.scheduling.resources import NO_NEEDS, Needs, Pool, Resources

EXPRESS = 2
"""Places of a device beyond its own, for short runs that would wait for long ones."""

MUCH_SHORTER = 0.5
"""A run that takes less than this part of what others have left goes beside them, if they hold all places."""


class Seat:
    """One model version on one device; `leave` gives it up.

    device     that it is on
    look       called when it may be its turn; it asks again if it still wants one
    begins_by  monotonic ns by which its next run must begin to be in time; infinite without a deadline
    weight     its share, beside the weights of the others
    wanted_ns  how long the run would take for which it asked last
    wants      whether it has asked in vain since it was called
    used       ns of the device, over its weight; what it did not want while it was idle is not kept for it
    under_way  monotonic ns: when each of its runs began, and when it is expected to end
    needs      of the rate limiter's resources, for each of its runs
    """

    __slots__ = (
        "begins_by",
        "device",
        "look",
        "needs",
        "under_way",
        "used",
        "wanted_ns",
        "wants",
        "weight",
    )

    def __init__(
        self,
        device: "Device",
        look: Callable[[], None],
        begins_by: Callable[[], float],
        weight: float,
        needs: Needs,
    ) -> None:
        self.device = device
        self.look = look
        self.begins_by = begins_by
        self.weight = weight
        self.wanted_ns = 0.0
        self.wants = False
        self.used = 0.0
        self.under_way: list[tuple[float, float]] = []
        self.needs = needs

    def take(self, expected_ns: float, now: int | None = None) -> bool:
        """Take a place for a run that is expected to take so long; False if it is not its turn yet.

        What it needs of the rate limiter's resources is taken with it: all of it, or nothing. `now` is the
        time, where it is known.
        """
        self.wanted_ns = expected_ns
        return self.device.give(self, now)

    def wait_ns(self) -> float:
        """How long a run like the last one would wait for a place now, if others end as expected."""
        return self.device.wait_ns(self)

    @property
    def is_shared(self) -> bool:
        """Whether others run there, or wait for their turn."""
        return self.device.is_busy_beside(self)

    @property
    def is_alone(self) -> bool:
        """Whether nobody else has a seat there."""
        return self.device.seats == 1

    def give_back(self, took_ns: float) -> None:
        """The run is over; it took so long."""
        self.device.take_back(self, took_ns)

    def leave(self) -> None:
        """No run is under way, and none follows."""
        self.device.lose(self)


class Device:
    """The places of one device, `places` while models share it; one that has it for itself needs no turns."""

    def __init__(
        self,
        places: int,
        clock: Callable[[], int],
        resources: Resources | None = None,
        freed: Callable[[], None] | None = None,
    ) -> None:
        self.places = places
        self._clock = clock
        self._resources = resources or Resources()
        self._freed = freed or self.hand_on_soon
        self._seats: list[Seat] = []
        self.seats = 0
        self._waiting: list[Seat] = []
        self._busy = 0
        self._virtual = 0.0
        self._handing_on = False

    def seat(
        self,
        look: Callable[[], None],
        begins_by: Callable[[], float],
        *,
        weight: float = 1.0,
        needs: Needs = NO_NEEDS,
    ) -> Seat:
        """One more model version, or instances of it that need something else than its others."""
        seat = Seat(self, look, begins_by, weight, needs)
        self._seats.append(seat)
        self.seats += 1
        return seat

    def lose(self, seat: Seat) -> None:
        self._seats.remove(seat)
        self.seats -= 1
        if seat in self._waiting:
            self._waiting.remove(seat)
        self.hand_on_soon()

    def give(self, seat: Seat, now: int | None = None) -> bool:
        """Give the seat a place, or note that it waits for one."""
        if now is None:
            now = self._clock()
        if self.seats == 1 and not seat.needs:
            self._virtual = seat.used  # who comes later does not start behind it
            seat.under_way.append((now, now + seat.wanted_ns))
            self._busy += 1
            return True
        if seat not in self._waiting:
            seat.used = max(self._virtual, seat.used)
            self._waiting.append(seat)
        if not self._is_next(seat):
            seat.wants = True
            return False
        self._virtual = max(self._virtual, min([other.used for other in self._waiting]))
        self._waiting.remove(seat)
        if seat.needs:
            self._resources.take(seat.needs)
        seat.under_way.append((now, now + seat.wanted_ns))
        self._busy += 1
        return True

    def wait_ns(self, seat: Seat) -> float:
        if self._has_place_for(seat):
            return 0.0
        left = sorted(self._left())
        return left[max(0, self._busy - self.places)] if left else 0.0

    def is_busy_beside(self, seat: Seat) -> bool:
        return self._busy > len(seat.under_way) or any(other is not seat for other in self._waiting)

    def take_back(self, seat: Seat, took_ns: float) -> None:
        self._busy -= 1
        under_way = seat.under_way
        if len(under_way) == 1:
            under_way.pop()
        else:
            began = self._clock() - took_ns
            under_way.remove(min(under_way, key=lambda run: abs(run[0] - began)))
        seat.used += took_ns / seat.weight
        if seat.needs:
            self._resources.give_back(seat.needs)
            self._freed()
        elif self._waiting:
            self.hand_on_soon()

    def _is_next(self, seat: Seat) -> bool:
        first = next(self._ready(), None)
        if first is not None and first is not seat:
            self.hand_on_soon()  # a place is free, so nobody who gives one back would call the first
        return first is seat

    def _ready(self) -> Iterator[Seat]:
        """Those who wait and could run, in the order of their turns.

        Whoever lacks resources keeps those behind from the ones it needs: else small needs would take again
        and again what a large one waits for.
        """
        claimed: set[Pool] = set()
        for seat in self._in_order(self._waiting):
            if not self._has_place_for(seat):
                continue
            if claimed.isdisjoint(seat.needs) and self._resources.can(seat.needs):
                yield seat
            else:
                claimed.update(seat.needs)

    @staticmethod
    def _in_order(seats: list[Seat]) -> list[Seat]:
        """Of those who wait, by whose turn it is."""
        share = min([seat.used + seat.wanted_ns / seat.weight for seat in seats], default=0.0)
        return sorted(seats, key=lambda seat: (seat.used > share, seat.begins_by(), seat.used))

    def _has_place_for(self, seat: Seat) -> bool:
        if len(self._seats) == 1 or self._busy < self.places:
            return True
        return self._busy < self.places + EXPRESS and self._goes_beside(seat)

    def _goes_beside(self, seat: Seat) -> bool:
        """Whether runs that go on for much longer than its own hold all places."""
        return sum(left * MUCH_SHORTER > seat.wanted_ns for left in self._left()) >= self.places

    def _left(self) -> Iterator[float]:
        """How long each run goes on, in ns: one that is overdue as long again as it has taken so far."""
        now = self._clock()
        for seat in self._seats:
            for began, end in seat.under_way:
                yield end - now if end > now else now - began

    def hand_on_soon(self) -> None:
        if self._waiting and not self._handing_on:
            self._handing_on = True
            asyncio.get_running_loop().call_soon(self._hand_on)

    def _hand_on(self) -> None:
        """Call those who wait, in the order of their turns, as long as there are places."""
        self._handing_on = False
        called: set[Seat] = set()
        while (seat := next((each for each in self._ready() if each not in called), None)) is not None:
            called.add(seat)
            seat.wants = False
            seat.look()
            if not seat.wants and seat in self._waiting:
                self._waiting.remove(seat)  # whom it had a batch for has left


class Turns:
    """The devices that models share, by name, and the resources of the rate limiter.

    concurrency  runs at once on one device that models share; 0 for as many as the CPU has processors that
                 this process may use, and two on any other device: one computes while another is copied
    resources    what runs take beside their places; None where nobody limits them by that
    """

    def __init__(
        self,
        *,
        concurrency: int = 0,
        processors: int = 1,
        resources: Resources | None = None,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._concurrency = concurrency
        self._processors = processors
        self._clock = clock
        self._devices: dict[str, Device] = {}
        self.resources = resources

    def device(self, name: str) -> Device:
        device = self._devices.get(name)
        if device is None:
            places = self._concurrency or (self._processors if name == "cpu" else 2)
            device = self._devices[name] = Device(places, self._clock, self.resources, self._freed)
        return device

    def _freed(self) -> None:
        """Resources were given back; some are shared by all devices."""
        for device in self._devices.values():
            device.hand_on_soon()
