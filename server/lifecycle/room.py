"""Makes room in memory for what is to be loaded: asks `decide`, and carries out what it says.

All who wait are looked at together, in the order in which they came, over one picture of what is in memory.
Who fits has its memory at once. Of those who do not, one at a time on each device has others leave, and the
memory that this gives back is kept for it; who waits for others to be done lets the next one try. They are
looked at again when memory is given back, and when what was in use is free. Lives on the event loop.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from time import monotonic

from server.domain.errors import NoRoom
from server.lifecycle.residency.accountant import Accountant, Books, Bytes, Holding, Key, OverBudget
from server.lifecycle.residency.amount import amount
from server.lifecycle.residency.decision import (
    Evict,
    Fits,
    Kind,
    Refuse,
    Resident,
    Wait,
    decide,
    impossible,
    relieve,
)

LOOK_AGAIN_S = 0.05
"""While loads wait: whether one of those in use is free by now. Requests tell nobody, and pay nothing."""

DECIDE_AGAIN_S = 1.0
"""Who is to leave is decided again after so long, whatever has changed."""

SPARED = 9
"""After a decision the event loop is left alone for so many times as long as that took."""


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


@dataclass(eq=False, slots=True)
class _Waiting:
    """One load that waits: until then, and why.

    load_by     as it was when it was last decided upon
    has_evicted others have left for it, and it has as much patience again for their memory to come back
    has_turn    what comes back next is for it
    """

    wanted: Wanted
    patient_until: float
    came: "asyncio.Future[Holding]"
    why: str = "others are to leave for it first"
    load_by: float = inf
    has_turn: bool = False
    has_evicted: bool = False

    @property
    def load_by_now(self) -> float:
        by = self.wanted.load_by()
        return inf if by is None else by


class Room:
    """The memory of all devices, and whose it is.

    accountant       its books
    residents        what is in memory, the first to go first
    in_use           whether one of them, as it was last told, still is in use
    evict            takes a version out of service and tells the accountant `leaving`, at once
    min_residency_s  how long a version that is asked for stays, unless a deadline is at stake
    patience_s       how long a load waits for others to come out of use, and then for their memory
    """

    def __init__(
        self,
        accountant: Accountant,
        *,
        residents: Callable[[], Sequence[Resident]],
        in_use: Callable[[Key], bool],
        evict: Callable[[Key], None],
        min_residency_s: float,
        patience_s: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.accountant = accountant
        self._residents = residents
        self._in_use = in_use
        self._evict = evict
        self._min_residency_s = min_residency_s
        self._patience_s = patience_s
        self._clock = clock
        self._queue: dict[_Waiting, None] = {}
        self._next: asyncio.Handle | None = None
        self._is_soon = False
        self._used: list[Key] = []
        self._decide_at = self._decide_from = -inf

    def gone(self, holding: Holding) -> None:
        """Its memory is back, or what was reserved is not needed."""
        self.accountant.gone(holding)
        self.note_change()

    def note_change(self) -> None:
        """Whoever waits had better be looked at again."""
        if self._queue:
            self._decide_at = -inf
            self._look_soon()

    async def reserve(self, wanted: Wanted) -> Holding:
        """Wait until it fits, and claim the memory.

        Raises `OverBudget` if it cannot fit, or not without evicting where it may not; `NoRoom` if what could
        leave was in use for as long as a load waits; and `Unwanted`.
        """
        came: asyncio.Future[Holding] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(wanted, self._clock() + self._patience_s, came)
        is_alone = not self._queue
        self._queue[waiting] = None
        self._decide_at = -inf
        if is_alone:
            self._look()
        else:  # all who come in one turn of the loop are looked at together
            self._look_soon()
        try:
            return await came
        except asyncio.CancelledError:
            if not came.cancelled() and came.exception() is None:
                self.accountant.gone(came.result())
            raise
        finally:
            del self._queue[waiting]
            self.note_change()

    def relieve(self, spared: Key) -> list[str]:
        """Evict until no device is over its budget, but for one that has just come; those that still are."""
        if any(self.accountant.free(device) < 0 for device in self.accountant.budgets):
            residents = [
                replace(each, in_use=True) if each.key == spared else each for each in self._residents()
            ]
            said = relieve(self.accountant.books(), residents, self._clock())
            if isinstance(said, Evict):
                for key in said.keys:
                    self._evict(key)
        return [device for device in self.accountant.budgets if self.accountant.over(device)]

    def forbids(self, wanted: Wanted) -> str:
        """Why it can never fit, with the arithmetic; empty if it can."""
        if self.fits_now(wanted):
            return ""
        return impossible(wanted.needs, self.accountant.budgets, _concerned(wanted, self._residents()))

    def fits_now(self, wanted: Wanted) -> bool:
        """Whether nobody would have to leave or be waited for."""
        return _passes(wanted.needs, self.accountant.books(), {})

    # The looks.

    def _look_soon(self) -> None:
        if not self._is_soon:
            self._then(0.0)
            self._is_soon = True

    def _then(self, delay_s: float) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        """At all who wait, once; and again in a while, as long as anybody does."""
        began, self._is_soon = monotonic(), False
        if self._next is not None:
            self._next.cancel()
        decides = self._is_due(self._clock()) and began >= self._decide_from
        look = _Look(self.accountant, self._residents if decides else None)
        if decides:
            self._decide_at = self._clock() + DECIDE_AGAIN_S
        for waiting in list(self._queue):
            if not waiting.came.done():
                try:
                    self._look_at(waiting, look)
                except Exception as error:  # whoever wants to load it hears of it
                    waiting.came.set_exception(error)
        if look.residents is not None:
            self._used = [each.key for each in look.residents if each.in_use]
            self._decide_from = monotonic() + SPARED * (monotonic() - began)
        if not self._is_soon and any(not waiting.came.done() for waiting in self._queue):
            self._then(LOOK_AGAIN_S)

    def _is_due(self, now: float) -> bool:
        """Whether something may have come of it that somebody has to leave."""
        return (
            now >= self._decide_at
            or any(not self._in_use(key) for key in self._used)
            or any(waiting.load_by_now < waiting.load_by for waiting in self._queue)
        )

    def _look_at(self, waiting: _Waiting, look: "_Look") -> None:
        """Give it its memory, or say no, or have others leave for it; or do nothing, and it waits on."""
        wanted, now = waiting.wanted, self._clock()
        if not wanted.is_wanted():
            raise Unwanted
        if _passes(wanted.needs, look.books, look.claimed):
            waiting.came.set_result(self.accountant.reserve(wanted.key, wanted.needs))
            look.books = self.accountant.books()
            return
        if not look.is_taken(wanted):
            if waiting.has_turn and look.is_coming(wanted.needs):
                look.claim(wanted)
            elif look.decides:
                waiting.has_turn = self._decide(waiting, look, now)
        if now >= waiting.patient_until and not waiting.came.done():
            raise NoRoom(wanted.key[0], f"it {_needs(wanted.needs)}, and {waiting.why}", LOOK_AGAIN_S)

    def _decide(self, waiting: _Waiting, look: "_Look", now: float) -> bool:
        """Have others leave for it, or have it wait; whether what comes back next is for it."""
        wanted = waiting.wanted
        waiting.load_by = waiting.load_by_now
        if look.is_hopeless(waiting):
            return False
        said = decide(
            wanted.needs,
            look.books,
            _concerned(wanted, look.all()),
            now,
            min_residency_s=self._min_residency_s,
            load_by=wanted.load_by(),
        )
        match said:
            case Refuse(sentence):
                raise OverBudget(sentence)
            case Evict(keys):
                for key in keys:
                    self._evict(key)
                look.left(keys)
                look.claim(wanted)
                if not waiting.has_evicted:
                    waiting.has_evicted, waiting.patient_until = True, now + self._patience_s
                return True
            case Wait(why, until):
                waiting.why = why
                if look.is_coming(wanted.needs):
                    look.claim(wanted)
                    return True
                if wanted.evicts:
                    look.hopeless.append(waiting)
                    self._decide_at = min(self._decide_at, inf if until is None else until)
                elif not any(look.books.coming.get(device, 0) for device in wanted.needs):
                    self.accountant.reserve(wanted.key, wanted.needs)  # which says why not
            case Fits():
                raise AssertionError("who fits is not decided upon")
        return False


class _Look:
    """What is known in one look at all who wait.

    books     by now
    claimed   of what is coming back, by those who were looked at already; nobody else evicts there
    hopeless  they have to wait for others, and so has who needs no less
    """

    def __init__(self, accountant: Accountant, see: Callable[[], Sequence[Resident]] | None) -> None:
        """`see` says what is in memory, and is asked at most once; None where nobody is to leave now."""
        self.books = accountant.books()
        self.claimed: dict[str, int] = {}
        self.hopeless: list[_Waiting] = []
        self.residents: Sequence[Resident] | None = None
        self.decides = see is not None
        self._accountant = accountant
        self._see = see

    def all(self) -> Sequence[Resident]:
        if self.residents is None:
            assert self._see is not None
            self.residents = self._see()
        return self.residents

    def left(self, keys: Collection[Key]) -> None:
        """These are being taken out of service."""
        self.residents = [each for each in self.all() if each.key not in keys]
        self.books = self._accountant.books()

    def claim(self, wanted: Wanted) -> None:
        for device, needed in wanted.needs.items():
            if needed and device in self.books.budgets:
                self.claimed[device] = self.claimed.get(device, 0) + needed

    def is_taken(self, wanted: Wanted) -> bool:
        """Whether it is somebody else's turn on one of its devices."""
        return any(needed and device in self.claimed for device, needed in wanted.needs.items())

    def is_coming(self, needs: Bytes) -> bool:
        """Whether it fits once all is back that is being given back."""
        books = self.books
        return all(
            needed <= books.free(device) + books.coming.get(device, 0)
            for device, needed in needs.items()
            if needed
        )

    def is_hopeless(self, waiting: _Waiting) -> bool:
        wanted = waiting.wanted
        for other in self.hopeless:
            same = (wanted.beside, wanted.instead) == (other.wanted.beside, other.wanted.instead)
            more = all(wanted.needs.get(device, 0) >= needed for device, needed in other.wanted.needs.items())
            if same and more and wanted.evicts and waiting.load_by >= other.load_by:
                waiting.why = other.why
                return True
        return False


def _concerned(wanted: Wanted, residents: Sequence[Resident]) -> Sequence[Resident]:
    """Those that may leave for it, or never will."""
    if wanted.evicts and not wanted.beside and not wanted.instead:
        return residents
    return [
        replace(each, pinned=True) if each.key in wanted.beside else each
        for each in residents
        if each.key not in wanted.instead
        and (wanted.evicts or each.kind is Kind.STANDBY or each.pinned or each.key in wanted.beside)
    ]


def _passes(needs: Bytes, books: Books, claimed: Mapping[str, int]) -> bool:
    """Whether it fits now, and leaves to those who were there before what they wait for."""
    for device, needed in needs.items():
        if needed:
            free = books.free(device)
            left = free + books.coming.get(device, 0) - claimed.get(device, 0)
            if needed > min(free, left):
                return False
    return True


def _needs(needs: Bytes) -> str:
    return "needs " + " and ".join(f"{amount(needed)} on {device}" for device, needed in needs.items())
