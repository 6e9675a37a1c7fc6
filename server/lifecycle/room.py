"""Makes room in memory for what is to be loaded: asks `decide`, and carries out what it says.

One load at a time evicts, and has the memory that this gives back; a load that only waits for others to be
done lets the next one try. Lives on the event loop.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from server.domain.errors import NoRoom
from server.lifecycle.residency.accountant import Accountant, Bytes, Holding, Key, OverBudget
from server.lifecycle.residency.amount import amount
from server.lifecycle.residency.decision import Evict, Fits, Kind, Refuse, Resident, Wait, decide, relieve

LOOK_AGAIN_S = 0.05
"""While a load waits for versions to come out of use: requests tell nobody, so that they cost nothing."""


class Unwanted(Exception):
    """Those who wanted it have left while it waited for memory."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be loaded, and how badly.

    evicts     whether what serves may have to leave for it; what only stands by always may
    load_by    when the load has to begin for those who wait, by the monotonic clock; None for no such time
    is_wanted  whether anybody still wants it
    instead    what goes for it anyway
    beside     what has to stay meanwhile, as the requests that it is to take over go there till then
    """

    key: Key
    needs: Bytes
    evicts: bool
    load_by: Callable[[], float | None] = lambda: None
    is_wanted: Callable[[], bool] = lambda: True
    beside: Collection[Key] = ()
    instead: Collection[Key] = ()


class Room:
    """The memory of all devices, and whose it is.

    accountant       its books
    residents        what is in memory, the first to go first
    evict            takes a version out of service and tells the accountant `leaving`, at once
    min_residency_s  how long a version that is asked for stays, unless a deadline is at stake
    patience_s       how long a load waits for others to come out of use
    """

    def __init__(
        self,
        accountant: Accountant,
        *,
        residents: Callable[[], Sequence[Resident]],
        evict: Callable[[Key], None],
        min_residency_s: float,
        patience_s: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.accountant = accountant
        self._residents = residents
        self._evict = evict
        self._min_residency_s = min_residency_s
        self._patience_s = patience_s
        self._clock = clock
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    def gone(self, holding: Holding) -> None:
        """Its memory is back, or what was reserved is not needed."""
        self.accountant.gone(holding)
        self.note_change()

    def note_change(self) -> None:
        """Whoever waits had better look again."""
        before, self._changed = self._changed, asyncio.Event()
        before.set()

    async def reserve(self, wanted: Wanted) -> Holding:
        """Wait until it fits, and claim the memory.

        Raises `OverBudget` if it cannot fit, or not without evicting where it may not; `NoRoom` if what could
        leave was in use for as long as a load waits; and `Unwanted`.
        """
        patient_until = self._clock() + self._patience_s
        while True:
            async with self._turn:
                if not wanted.is_wanted():
                    raise Unwanted
                said = self._decide(wanted)
                while not isinstance(said, Fits):
                    if isinstance(said, Refuse):
                        raise OverBudget(said.sentence)
                    if isinstance(said, Evict):
                        for key in said.keys:
                            self._evict(key)
                    if not (wanted.is_wanted() and self._coming(wanted.needs)):
                        break
                    await self._a_change()
                    said = self._decide(wanted)
                if isinstance(said, Fits) or not wanted.evicts:
                    return self.accountant.reserve(wanted.key, wanted.needs)
            if self._clock() >= patient_until:
                raise NoRoom(wanted.key[0], f"it {_needs(wanted.needs)}, and {_why(said)}", LOOK_AGAIN_S)
            await self._a_change()

    def relieve(self, spared: Key) -> list[str]:
        """Evict until no device is over its budget, but for one that has just come; those that still are."""
        residents = [replace(each, in_use=True) if each.key == spared else each for each in self._residents()]
        said = relieve(self.accountant.books(), residents, self._clock())
        if isinstance(said, Evict):
            for key in said.keys:
                self._evict(key)
        return [device for device in self.accountant.budgets if self.accountant.over(device)]

    def forbids(self, wanted: Wanted) -> str:
        """Why it can never fit, with the arithmetic; empty if it can."""
        said = self._decide(wanted)
        return said.sentence if isinstance(said, Refuse) else ""

    def fits_now(self, wanted: Wanted) -> bool:
        """Whether nobody would have to leave or be waited for."""
        return isinstance(self._decide(wanted), Fits)

    def _decide(self, wanted: Wanted) -> Fits | Evict | Wait | Refuse:
        residents = [
            replace(
                each,
                pinned=each.pinned or each.key in wanted.beside,
                in_use=each.in_use or (each.kind is Kind.SERVING and not wanted.evicts),
            )
            for each in self._residents()
            if each.key not in wanted.instead
        ]
        return decide(
            wanted.needs,
            self.accountant.books(),
            residents,
            self._clock(),
            min_residency_s=self._min_residency_s,
            load_by=wanted.load_by(),
        )

    def _coming(self, needs: Bytes) -> bool:
        return any(self.accountant.coming(device) for device, needed in needs.items() if needed)

    async def _a_change(self) -> None:
        """Until something was given back, or it is time to look again."""
        try:
            async with asyncio.timeout(LOOK_AGAIN_S):
                await self._changed.wait()
        except TimeoutError:
            pass


def _needs(needs: Bytes) -> str:
    return "needs " + " and ".join(f"{amount(needed)} on {device}" for device, needed in needs.items())


def _why(said: Evict | Wait) -> str:
    return said.why if isinstance(said, Wait) else "others are to leave for it first"
