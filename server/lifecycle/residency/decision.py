"""What to do when a version is to be loaded: load it, evict others first, wait, or refuse.

Pure: a snapshot goes in, a frozen value comes out. Who acts on it calls again until it says `Fits`, and then
reserves at once, without an await in between; `Evict` is carried out by taking these versions out of service
and telling the accountant `leaving` at once, then asking again, which waits until the memory is back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from server.lifecycle.residency.accountant import NOTHING, Books, Bytes, Key
from server.lifecycle.residency.amount import amount


class Kind(StrEnum):
    SERVING = "serving"
    STANDBY = "standby"
    """Kept warm for a quick way back; requests do not reach it unasked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """One version that is loaded, as far as eviction cares.

    bytes    what goes back to each device when it leaves
    pinned   it is never to leave
    in_use   requests wait, run, or are between its stages, or those that it was loaded for have not come yet
    since    when it became resident, by the clock that `now` comes from
    load_s   how long its load took: it stays at least for as long again
    """

    key: Key
    bytes: Bytes
    kind: Kind = Kind.SERVING
    pinned: bool = False
    in_use: bool = False
    since: float = 0.0
    load_s: float = 0.0

    def ripe_at(self, min_residency_s: float) -> float:
        """Until when it is to stay."""
        return self.since + max(min_residency_s, self.load_s)


@dataclass(frozen=True, slots=True)
class Fits:
    """Reserve and load now."""


@dataclass(frozen=True, slots=True)
class Evict:
    """Let these leave, and ask again."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again when something was given back or came out of use, and at `until` if it is not None."""

    why: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """It can never fit: the arithmetic, to follow the name of the version."""

    sentence: str


Decision = Fits | Evict | Wait | Refuse


def decide(
    needs: Bytes,
    books: Books,
    residents: Sequence[Resident],
    now: float,
    *,
    min_residency_s: float = 0.0,
    load_by: float | None = None,
) -> Decision:
    """`residents` are in the order of the policy, the first to go first.

    load_by   when the load has to begin so that the request which waits for it is answered in time;
              None if nobody waits, or for ever

    Whoever is first to go and came only just now is waited for, in use or not, where that takes no longer
    than its load did. Where it takes longer, those who have stayed long enough go in its place, though they
    are worth more.
    """
    never = impossible(needs, books.budgets, residents)
    if never:
        return Refuse(never)
    if not any(_lacking(needs, books, NOTHING).values()):
        return Fits()
    return _make_room(_lacking(needs, books, books.coming), residents, now, min_residency_s, load_by)


def relieve(
    books: Books, residents: Sequence[Resident], now: float, *, min_residency_s: float = 0.0
) -> Fits | Evict | Wait:
    """When measuring found more than was reserved: who leaves so that every device is within its budget.

    `residents` as in `decide`; what was measured is among them, and in use until its requests are answered.
    """
    if not any(books.free(device) < 0 for device in books.budgets):
        return Fits()
    beyond = {device: max(0.0, -books.free(device) - books.coming.get(device, 0)) for device in books.budgets}
    return _make_room(beyond, residents, now, min_residency_s, None)


def impossible(needs: Bytes, budgets: Bytes, residents: Sequence[Resident]) -> str:
    """Why this can never be loaded, whoever leaves: the arithmetic; empty where it can.

    Ask it again with what was measured: a version that turns out larger than all that may be had has to go.
    """
    for device, needed in needs.items():
        pinned = [each for each in residents if each.pinned and each.bytes.get(device)]
        kept = sum(each.bytes[device] for each in pinned)
        if needed and device in budgets and needed > budgets[device] - kept:
            sentence = f"needs {amount(needed)} on {device}; the budget is {amount(budgets[device])}"
            if kept:
                names = ", ".join(sorted({each.key[0] for each in pinned}))
                sentence += f", of which {amount(kept)} are pinned by {names}"
            return sentence
    return ""


def _make_room(
    lacking: Mapping[str, float],
    residents: Sequence[Resident],
    now: float,
    min_residency_s: float,
    load_by: float | None,
) -> Evict | Wait:
    if not any(lacking.values()):
        return Wait("memory is being given back")
    able = [each for each in residents if not each.pinned]
    able.sort(key=lambda each: each.kind is not Kind.STANDBY)
    young = {each.key for each in able if each.ripe_at(min_residency_s) > now}
    idle = [each for each in able if not each.in_use]
    older = _enough(lacking, [each for each in idle if each.key not in young])
    going = _enough(lacking, [each for each in able if not each.in_use or each.key in young])
    if not going:
        return Wait("all that could leave is in use")
    until = max(each.ripe_at(min_residency_s) for each in going)
    too_late = load_by is not None and until > load_by
    if older and (until <= now or too_late or until - now > max(each.load_s for each in going)):
        return Evict(_keys(older))
    if too_late and (hurried := _enough(lacking, idle)):
        return Evict(_keys(hurried))
    return Wait("what could leave was loaded only just now", until)


def _keys(residents: Sequence[Resident]) -> tuple[Key, ...]:
    return tuple(each.key for each in residents)


def _lacking(needs: Bytes, books: Books, coming: Bytes) -> dict[str, float]:
    """What is lacking on each device, once `coming` is back."""
    return {
        device: max(0.0, needed - books.free(device) - coming.get(device, 0)) if needed else 0.0
        for device, needed in needs.items()
    }


def _enough(lacking: Mapping[str, float], able: Sequence[Resident]) -> list[Resident]:
    """The first of these that free enough, less those that are not needed for it; none if all are too few."""
    going: list[Resident] = []
    spare = {device: -short for device, short in lacking.items()}
    for each in able:
        short = [device for device, left in spare.items() if left < 0]
        if not short:
            break
        if any(each.bytes.get(device, 0) for device in short):
            going.append(each)
            for device in spare:
                spare[device] += each.bytes.get(device, 0)
    if any(left < 0 for left in spare.values()):
        return []
    needed: list[Resident] = []
    for each in reversed(going):
        if all(left >= each.bytes.get(device, 0) for device, left in spare.items()):
            for device in spare:
                spare[device] -= each.bytes.get(device, 0)
        else:
            needed.append(each)
    return needed[::-1]
