"""Who is let into the queue of a model version, and what those are told who are not.

The queue's own bounds come first come, first served, or by clients' shares; over them stands the latency
target, if there is one. Reads the queue, the slots and the runs under way, and changes none of them but by
giving a place. Lives on the event loop.
"""

from collections.abc import Callable, Collection

from server.domain.errors import QueueFull, TooLate
from server.observe.tally import Tally
from server.scheduling.alarm import NEVER
from server.scheduling.latency_target import LatencyTarget
from server.scheduling.plan import Plan
from server.scheduling.profile import Curve, Profile
from server.scheduling.queue import Full, Queue
from server.scheduling.run import Run
from server.scheduling.slots import Slots
from server.scheduling.ticket import Ticket

ANY = 2**62
"""Rows: more than there can be."""

PROBE_NS = 1_000_000_000
"""After so long without a run, one request goes whatever is expected of it: it may be faster by now."""


class Admission:
    """The door of one queue.

    target        what is promised, or None
    open_rows     as long as no more than these wait, whoever has just asked is let in without being looked at
    unseen_rows   whoever would make them more is looked at in any case, as so many fill a batch
    plain_curve   of runs whose inputs are all alike, on the first device
    overhead_ns   what a run takes beyond its own time, on average: the way to its thread and back
    """

    def __init__(
        self,
        model: str,
        plan: Plan,
        queue: Queue,
        slots: Slots,
        running: Collection[Run],
        profile: Profile,
        curve_of: Callable[[Ticket], Curve],
        tally: Tally,
    ) -> None:
        self._model = model
        self._plan = plan
        self._queue = queue
        self._slots = slots
        self._running = running
        self._profile = profile
        self._curve_of = curve_of
        self._tally = tally
        self._alone = plan.rule is None
        self._keeps_turns = plan.preserve_ordering
        self._counts_rows = queue.is_plain and not self._alone
        self._open_rows = 0
        self.open_rows = 0
        self.unseen_rows = ANY
        self._ran = 0
        self._not_queued = 0
        self.target: LatencyTarget | None = None
        self.plain_curve = Curve()
        self.overhead_ns = 0.0

    def promise(self, seconds: float | None) -> None:
        """Have requests answered within so long from now on; None promises nothing."""
        before, self.target = self.target, None
        self.shut()
        if seconds is not None:
            limit = self._plan.request_rows if self._alone else self._plan.max_rows
            slots = len(self._slots)
            self.target = LatencyTarget(int(seconds * 1e9), limit=limit, slots=slots, asked=self._asked)
            if before is not None:
                self.target.margin.go_on(before.margin)

    def shut(self) -> None:
        """Have whoever comes next looked at."""
        self._open_rows = self.open_rows = 0

    def open(self) -> None:
        """One was looked at and let in: tell up to how many rows others need not be."""
        if not self._keeps_turns:
            rows = min(self._queue.open_rows, self.unseen_rows)
            self.open_rows = rows if self.target is None else min(rows, self._open_rows)

    def reckon(self, target: LatencyTarget, now: int) -> None:
        """A run has begun: tell how many rows may wait behind it without being looked at."""
        if self._counts_rows:
            target.note_time(now, self._asked)
            self._open_rows = target.open_rows(self._wait_ns(now), self._turn_ns, self.plain_curve)
            self.open()

    def hold_against_target(self, ticket: Ticket, target: LatencyTarget, now: int) -> None:
        """Say when a request is due. Raises `TooLate` for one that could not be answered by then."""
        asked = ticket.asked * 1e9 or now
        due = asked + target.ns
        if ticket.deadline != NEVER:
            due = min(due, ticket.deadline * 1e9)
        ticket.due = ticket.order = due
        queue, rows = self._queue, ticket.rows
        if queue.rows + rows <= self._open_rows and ticket.lane is None and due - now > target.fresh_ns:
            return
        curve = self._curve_of(ticket) if ticket.lane is not None else self.plain_curve
        running, slots = self._running, self._slots
        if (
            not queue.size
            and not running
            and now + self.overhead_ns + curve.expect(rows) <= due
            and slots.need_no_turns
        ):
            return  # nobody is in its way
        ahead = queue.rows_ahead(ticket)
        each = 0
        if self._alone:
            each = max(1, queue.rows // queue.size) if queue.size else rows
        wait, turn = self._wait_ns(now), self._turn_ns
        target.note_time(now, self._asked)
        if ticket.lane is None and self._counts_rows:
            self._open_rows = target.open_rows(wait, turn, curve)
            if queue.rows + rows <= self._open_rows and due - now > target.fresh_ns:
                return
        busy = bool(running or ahead)
        answered = target.expected(rows, ahead, wait, turn, curve, each)
        answered += target.margin.ns if busy else 0.0
        if now + answered <= due or not curve.sizes:
            return
        if not busy and now - self._ran > PROBE_NS:
            ticket.due = 0  # nobody is in its way: it runs, to see
            return
        self._tally.pressure.note(answered / target.ns, 1, now)
        self._count("late", ticket, now)
        raise TooLate(self._model, (now + answered - asked) / 1e9, target.ns / 1e9)

    def lets_alone(self, ticket: Ticket, target: LatencyTarget, expected_ns: float, now: int) -> bool:
        """Say when a request without a deadline is due, beside which nobody waits or runs on a device that is
        its own, and whether it can be answered by then. False: hold it against the target as all others are.
        """
        ticket.due = ticket.order = due = (ticket.asked * 1e9 or now) + target.ns
        if now + self.overhead_ns + expected_ns > due:
            return False
        self._not_queued += ticket.rows
        self.shut()
        return True

    def leave_room_for(self, kept: int, ticket: Ticket, now: int) -> None:
        """Raises `QueueFull` where so many answers, which wait for others, take the places that are left."""
        if kept and kept + self._queue.size >= self._plan.levels[0].max_size:
            self._tally.pressure.note(1.0, 1, now)
            self._count(Full.REQUESTS.value, ticket, now)
            raise self.is_full(Full.REQUESTS)

    def make_room(self, ticket: Ticket, full: Full, now: int) -> Ticket:
        """Let a request into a full queue in place of one of who has more than its share. Raises `QueueFull`.

        Whose place it got comes back: it is to be told.
        """
        self._tally.pressure.note(1.0, 1, now)
        other = self._queue.give_way(ticket) if self._plan.fair_clients else None
        if other is not None and self._queue.join(ticket) is None:
            self._tally.refused["share"] += 1
            return other
        assert other is None  # it gives way to one that fits
        self._count(full.value, ticket, now)
        raise self.is_full(full)

    def is_full(self, full: Full = Full.REQUESTS) -> QueueFull:
        """The refusal, with when a place is likely to be free."""
        queue, why = self._queue, ""
        if full is Full.BYTES:
            why = f" with {queue.bytes} bytes of inputs, of {self._plan.max_queue_bytes} that may wait"
        runs = max(1.0, queue.rows / self._plan.max_rows)
        longest = max(self._profile.longest(device) for device in self._slots.devices)
        return QueueFull(self._model, queue.size, runs * longest / 1e9 / len(self._slots), why)

    def turned_away(self, ticket: Ticket, now: int) -> TooLate:
        """The refusal of one that waits and cannot be in time any more."""
        assert self.target is not None
        curve = self._curve_of(ticket)
        self._tally.refused["late"] += 1
        self.target.margin.note(late=True)
        late_s = (now - ticket.due + curve.expect(ticket.rows)) / 1e9
        target_s = self.target.ns / 1e9
        return TooLate(self._model, target_s + late_s, target_s)

    def note_start(self) -> None:
        """A run has begun: whoever comes now is reckoned anew."""
        self.shut()
        if self.target is not None and self._queue.size:
            self.target.note_start(len(self._running))

    def note_end(self, run: Run, curve: Curve, now: int) -> None:
        """A run is over, and its curve knows of it."""
        self._ran = now
        overhead = self.overhead_ns
        if not run.in_place:
            self.overhead_ns = overhead = overhead + (now - run.left - run.ended + run.began - overhead) / 8
        target = self.target
        if target is not None:
            target.note_run(curve, overhead)
            due = run.tickets[0].due
            if due:
                late, margin = now + run.short_ns > due, target.margin
                if late or margin.ns:
                    margin.note(late=late)

    def _count(self, reason: str, ticket: Ticket, now: int) -> None:
        self._not_queued += ticket.rows
        self._tally.refused[reason] += 1
        if ticket.arrived:
            self._tally.failed("REJECTED", now - int(ticket.arrived * 1e9))

    def _wait_ns(self, now: int) -> float:
        """Until whoever is next could run, and what that takes beyond the run."""
        if self._slots.idle:
            return self.overhead_ns + self._slots.wait_ns()
        free_at = min([run.left + run.expected for run in self._running], default=now)
        return self.overhead_ns + max(0.0, free_at - now)

    @property
    def _asked(self) -> int:
        """Rows that have come: those that wait, that have waited, that went at once and that were refused."""
        return self._queue.rows + self._queue.gone + self._not_queued

    @property
    def _turn_ns(self) -> float:
        """How long each batch waits for runs of other versions."""
        return self._slots.turn_ns if self._slots.are_shared else 0.0
