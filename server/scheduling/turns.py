"""Who may run next on a device that several models share.

A device has so many places, each for one run. A batcher takes a seat on each device that its instances
stand on, and asks for a turn when it has a batch; if there is none it is called back when there is. So a
batch is formed when its turn comes, not before, and nobody holds a place while it waits for another one.

Turns go by deadline, then by weight: each seat has used so much of the device for its weight, and of
those that have used the least, up to `LEEWAY_NS`, the one that must begin first is first. So a flood on
one model cannot starve another, whatever its deadlines. The last free place of a device is kept from a
run that would take longer than another model, which has a latency target, can wait.

Source for the shares: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996). Lives on the event loop.
"""

import asyncio
from collections.abc import Callable
from time import monotonic_ns

from server.scheduling.alarm import NEVER

LEEWAY_NS = 100_000_000
"""Device time by which a seat may be ahead of its share and still go first by its deadline."""

LIVELY_NS = 10_000_000_000
"""A seat that has not run for so long does not keep the last place from others."""


class Seat:
    """One model version on one device; `leave` gives it up.

    look       called when it may be its turn; it asks again if it still wants one
    begins_by  monotonic ns by which its next run must begin to be in time; `NEVER` without a deadline
    runs       of its own that may be under way at once: its instances on the device
    weight     its share, beside the weights of the others
    patience   ns that its requests can wait; `NEVER` without a latency target
    wanted_ns  how long the run would take for which it asked last
    used       ns of the device, over its weight; what it did not want while it was idle is not kept for it
    last       monotonic ns: when it took its last turn
    """

    __slots__ = ("_device", "begins_by", "last", "look", "patience", "runs", "used", "wanted_ns", "weight")

    def __init__(
        self, device: "Device", look: Callable[[], None], begins_by: Callable[[], float], weight: float
    ) -> None:
        self._device = device
        self.look = look
        self.begins_by = begins_by
        self.weight = weight
        self.runs = 0
        self.patience = NEVER
        self.wanted_ns = 0.0
        self.used = 0.0
        self.last = -LIVELY_NS

    def resize(self, runs: int) -> None:
        self.runs = runs
        self._device.recount()

    def take(self, expected_ns: float) -> bool:
        """Take a place for a run that is expected to take so long; False if it is not its turn yet."""
        self.wanted_ns = expected_ns
        return self._device.give(self)

    def give_back(self, took_ns: float) -> None:
        """The run is over; it took so long."""
        self._device.take_back(self, took_ns)

    def leave(self) -> None:
        """No run is under way, and none follows."""
        self._device.lose(self)


class Device:
    """The places of one device: `places`, or as many as one model has instances on it, at least `least`."""

    def __init__(self, places: int, least: int, clock: Callable[[], int]) -> None:
        self._fixed = places
        self._least = least
        self._clock = clock
        self._seats: list[Seat] = []
        self._waiting: list[Seat] = []
        self._places = places or least
        self._busy = 0
        self._virtual = 0.0
        self._handing_on = False

    def seat(self, look: Callable[[], None], begins_by: Callable[[], float], *, weight: float = 1.0) -> Seat:
        """One more model version; `Seat.resize` says how many runs it can have under way."""
        seat = Seat(self, look, begins_by, weight)
        self._seats.append(seat)
        return seat

    def lose(self, seat: Seat) -> None:
        self._seats.remove(seat)
        if seat in self._waiting:
            self._waiting.remove(seat)
        self.recount()
        self._hand_on_soon()

    def recount(self) -> None:
        self._places = self._fixed or max([self._least, *[seat.runs for seat in self._seats]])

    def give(self, seat: Seat) -> bool:
        """Give the seat a place, or note that it waits for one."""
        if not self._is_next(seat):
            if seat not in self._waiting:
                self._waiting.append(seat)
            return False
        if seat in self._waiting:
            self._waiting.remove(seat)
        seat.last = self._clock()
        seat.used = self._virtual = max(self._virtual, seat.used)
        self._busy += 1
        return True

    def take_back(self, seat: Seat, took_ns: float) -> None:
        self._busy -= 1
        seat.used += took_ns / seat.weight
        self._hand_on_soon()

    def _is_next(self, seat: Seat) -> bool:
        if not self._has_place_for(seat):
            return False
        rivals = [other for other in self._waiting if other is not seat and self._has_place_for(other)]
        if not rivals:
            return True
        if self._in_order([seat, *rivals])[0] is seat:
            return True
        self._hand_on_soon()  # a place is free, so nobody who gives one back would call the first
        return False

    def _in_order(self, seats: list[Seat]) -> list[Seat]:
        """By whose turn it is; who has just come goes behind its equals."""
        starts = [max(self._virtual, seat.used) for seat in seats]
        share = min(starts, default=0.0) + LEEWAY_NS
        keys = {
            id(seat): (start > share, seat.begins_by(), start)
            for seat, start in zip(seats, starts, strict=True)
        }
        return sorted(seats, key=lambda seat: keys[id(seat)])

    def _has_place_for(self, seat: Seat) -> bool:
        free = self._places - self._busy
        if free != 1 or self._places == 1:
            return free > 0
        return not self._is_kept_from(seat)

    def _is_kept_from(self, seat: Seat) -> bool:
        """Whether the last place is for others: those who could not wait for as long as this run takes."""
        lively = self._clock() - LIVELY_NS
        return any(
            other.patience < seat.wanted_ns and other.last > lively and other is not seat
            for other in self._seats
        )

    def _hand_on_soon(self) -> None:
        if self._waiting and not self._handing_on:
            self._handing_on = True
            asyncio.get_running_loop().call_soon(self._hand_on)

    def _hand_on(self) -> None:
        """Call those who wait, in the order of their turns, as long as there are places."""
        self._handing_on = False
        for seat in self._in_order(self._waiting):
            if seat in self._waiting and self._has_place_for(seat):
                self._waiting.remove(seat)
                seat.look()


class Turns:
    """The devices that models share, by name.

    concurrency  runs at once on one device; 0 for as many as it has processors, or as one model has instances
    processors   of the CPU, as far as this process may use them
    """

    def __init__(
        self, *, concurrency: int = 0, processors: int = 1, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        self._concurrency = concurrency
        self._processors = processors
        self._clock = clock
        self._devices: dict[str, Device] = {}

    def device(self, name: str) -> Device:
        """Every device but the CPU runs two at once at least: one computes while another is copied."""
        device = self._devices.get(name)
        if device is None:
            least = max(2, self._processors) if name == "cpu" else 2
            device = self._devices[name] = Device(self._concurrency, least, self._clock)
        return device
