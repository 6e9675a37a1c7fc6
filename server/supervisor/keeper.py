"""Keeps one seat taken: starts a process, starts it again when it ends, replaces it, and ends it."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from server.supervisor.child import Child
from server.supervisor.plan import Seat
from server.supervisor.restart import Failures, RestartRule, has_refused
from server.supervisor.state import LEGAL, SeatState

LEFT = (0, -signal.SIGTERM)
"""Exit codes of a process that was told to go, and did: the second of one that had just been started."""

log = structlog.get_logger(__name__)


class Refused(Exception):
    """The first process of a seat has said that it cannot be; the sentences are its own."""

    def __init__(self, seat: Seat, code: int, sentences: list[str]) -> None:
        said = sentences or [f"it ended with exit code {code}; the log has what it said"]
        super().__init__("\n".join(f"{seat}: {sentence}" for sentence in said))
        self.code = code


class NotReplaced(Exception):
    """The new process was no better than none, so the old one stays; the sentence says why."""


class Keeper:
    """One seat. `keep` is its loop, which the fleet owns; `replace` works beside it."""

    def __init__(
        self,
        seat: Seat,
        start: Callable[[Seat], Child],
        rule: RestartRule,
        *,
        leave_within_s: float,
    ) -> None:
        self.seat = seat
        self.state = SeatState.WAITING
        self.failures = Failures()
        self.back_off_s = 0.0
        self.child: Child | None = None
        self.left_well = True
        self._start = start
        self._rule = rule
        self._leave_within_s = leave_within_s
        self._ever_started = False
        self._leaving = asyncio.Event()
        self._begun = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone.set()
        self._swapped = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._up = asyncio.Event()
        self._alive: set[Child] = set()

    @property
    def ready(self) -> bool:
        return self.child is not None and self.child.ready

    async def begun(self) -> None:
        """Until a first process has tried what it is to serve, or has failed: others need not wait."""
        await self._begun.wait()

    async def gone(self) -> None:
        """Until nobody is here."""
        await self._gone.wait()

    def leave(self) -> None:
        """End what there is, and start nothing more: `keep` ends then."""
        self._leaving.set()

    async def keep(self) -> None:
        """Until told to leave. Raises `Refused`."""
        self._gone.clear()
        try:
            while not self._leaving.is_set():
                self._move(SeatState.STARTING)
                try:
                    self.child = self._new()
                except OSError as error:
                    log.error("process_not_started", **self._facts(), reason=str(error))
                    await self._back_off(0.0)
                    continue
                if await self._has_ended_by_itself():
                    await self._mourn()
        finally:
            self._begun.set()
            await self._empty()
            self._gone.set()

    async def replace(self, *, within_s: float, surge: bool) -> None:
        """Put a new process in the place of the one that is here. Raises `NotReplaced`.

        With `surge`, the new one is as ready as the old one was before that is told to go; without it the
        old one goes first.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._up.wait()
        except TimeoutError:
            raise NotReplaced(f"{self.seat} is {self.state}, so there is nothing to replace") from None
        old = self.child
        assert old is not None
        was_ready = old.ready
        if not surge:
            await self._exchange_without_surge(old, within_s, was_ready)
            return
        new = self._successor()
        reason = await _until_up(new, within_s, ready=was_ready)
        if reason or self.child is not old:
            await self._end(new)
            raise NotReplaced(
                f"the new process of {self.seat} {reason}: the old one stays"
                if reason
                else f"{self.seat} ended by itself meanwhile, and was started again"
            )
        self.child = new
        self._swapped.set()
        log.info("process_replaced", **self._facts(), pid=new.pid, old_pid=old.pid)
        await self._end(old)

    async def _exchange_without_surge(self, old: Child, within_s: float, was_ready: bool) -> None:
        self._settled.clear()
        try:
            await self._end(old)
            new = self.child = self._successor()
        finally:
            self._settled.set()
        reason = await _until_up(new, within_s, ready=was_ready)
        if reason:
            raise NotReplaced(f"the new process of {self.seat} {reason}")
        log.info("process_replaced", **self._facts(), pid=new.pid, old_pid=old.pid)

    def _successor(self) -> Child:
        try:
            return self._new()
        except OSError as error:
            raise NotReplaced(f"there can be no new process of {self.seat}: {error}") from None

    def _new(self) -> Child:
        child = self._start(self.seat)
        self._alive.add(child)
        log.info("process_started", **self._facts(), pid=child.pid)
        return child

    async def _has_ended_by_itself(self) -> bool:
        """Watch whoever is in charge; False if we are told to leave first."""
        while not self._leaving.is_set():
            await _first(self._leaving.wait(), self._settled.wait())
            self._swapped.clear()
            child = self.child
            assert child is not None
            if child.started.is_set() and self.state is SeatState.STARTING:
                self._ever_started = True
                self._move(SeatState.UP)
                self._begun.set()
                log.info("process_up", **self._facts(), pid=child.pid, start_s=round(child.age_s, 2))
            waited_for = [self._leaving.wait(), self._swapped.wait(), child.ended.wait()]
            if self.state is SeatState.STARTING:
                waited_for.append(child.started.wait())
            await _first(*waited_for)
            dismissed = not self._settled.is_set() or self._leaving.is_set()
            if child.ended.is_set() and child is self.child and not dismissed:
                return True
        return False

    async def _mourn(self) -> None:
        child = self.child
        assert child is not None
        self._alive.discard(child)
        code = child.code or 0
        await child.last_words()
        if has_refused(code, ever_started=self._ever_started):
            raise Refused(self.seat, code, child.sentences)
        log.error("process_ended", **self._facts(), pid=child.pid, code=code, lived_s=round(child.age_s, 2))
        await self._back_off(child.age_s)

    async def _back_off(self, lived_s: float) -> None:
        self.failures = self.failures.after(self._rule, lived_s)
        self._move(SeatState.BACKING_OFF)
        self._begun.set()
        self.back_off_s = self.failures.wait_s(self._rule, random.random())
        log.warning(
            "process_restarts_later",
            **self._facts(),
            wait_s=round(self.back_off_s, 2),
            in_a_row=self.failures.in_a_row,
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(self.back_off_s):
                await self._leaving.wait()
        self.back_off_s = 0.0

    async def _empty(self) -> None:
        """Nobody of this seat outlives it."""
        if self.state is not SeatState.WAITING:
            self._move(SeatState.LEAVING)
        async with asyncio.TaskGroup() as ending:
            for child in list(self._alive):
                ending.create_task(self._end(child))
        self._move(SeatState.GONE)

    async def _end(self, child: Child) -> None:
        await child.leave(self._leave_within_s)
        self._alive.discard(child)
        await child.last_words()
        if child.code not in LEFT:
            self.left_well = False
            log.error("process_left_badly", **self._facts(), pid=child.pid, code=child.code)
        else:
            log.info("process_left", **self._facts(), pid=child.pid)

    def _move(self, state: SeatState) -> None:
        assert state in LEGAL[self.state], f"{self.state} to {state}"
        self.state = state
        if state is SeatState.UP:
            self._up.set()
        else:
            self._up.clear()

    def _facts(self) -> dict[str, object]:
        return {"role": str(self.seat.role), "process": self.seat.number}


async def _until_up(child: Child, within_s: float, *, ready: bool) -> str:
    """Empty once it has started, and is ready if that is asked; else why it never was."""
    try:
        async with asyncio.timeout(within_s):
            await _first(child.started.wait(), child.ended.wait())
            while ready and not child.ready and not child.ended.is_set():
                await _first(asyncio.sleep(0.05), child.ended.wait())
    except TimeoutError:
        return f"was not {'ready' if child.started.is_set() else 'up'} within {within_s:g} s"
    if child.ended.is_set():
        said = "; ".join(child.sentences)
        return f"ended with exit code {child.code}" + (f" ({said})" if said else "")
    return ""


async def _first(*waits: Awaitable[object]) -> None:
    """Until one of them is over; the others are called off."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
