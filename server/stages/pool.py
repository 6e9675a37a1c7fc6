"""Where pre- and post-processing code runs: a few threads, and a line of bounded length before them.

Code of microseconds holds Python's lock, so that several threads would do no more of it than one, and fight
for the lock: one thread takes all that waits, and the loop hears of all that is done at once. Another thread
is woken where one that is at work does not come back for the next: by a look at the line each millisecond
while anything waits there, or at once where calls are known to take so long. So code that waits, or that
computes without the lock, runs side by side, and a call that hangs holds up nobody while there are threads.

Where calls wait for a thread, what is done may wait a little too, for others to go on with: each message
between tiers and each turn of a loop then serves several. It waits for a part of what it has waited
already, which those who come behind it gain, as a core that does less for each has more for all.
"""

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from time import monotonic_ns
from typing import Any, Generic, TypeVar

import structlog

from server.domain.errors import QueueFull, ServerStopping
from server.observe.demand import Asked, Demand

log = structlog.get_logger(__name__)

T = TypeVar("T")

MEMORY = 100
"""What a call takes is the mean of about so many."""

LONG_NS = 250_000
"""Where calls take so long, each that waits is worth a thread."""

LOOK_S = 0.001
"""Between two looks at whether those who are awake come back for what waits."""

COMPANY = 1 / 2
"""Of its time in the line, what a result waits for others at most: with more of it the line runs dry."""

LOOK_LATE_S = 0.01
"""The same where every thread is awake: only for results that wait beside a call that takes long."""

IDLE_S = 30.0
"""A thread that had nothing to do for so long ends."""


class Job(Generic[T]):
    """One call, on its way through the pool; on the event loop but for its work. Times are monotonic ns.

    queued   taken into the line
    began    its work began; 0 until then
    ended    its work ended, well or not
    told     called once, on the loop, when it is over; None from then on
    """

    __slots__ = ("_error", "_value", "began", "ended", "queued", "told", "work")

    def __init__(self, work: Callable[[], T], told: "Callable[[Job[T]], object]") -> None:
        self.work: Callable[[], T] | None = work
        self.told: Callable[[Job[T]], object] | None = told
        self.queued = monotonic_ns()
        self.began = self.ended = 0
        self._value: T | None = None
        self._error: BaseException | None = None

    def result(self) -> T:
        """What the work returned. Raises what it raised, or `CancelledError` if the pool was closed before it
        began. To be asked once: what was raised holds its frames, and nothing here holds it any longer.
        """
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error
        value, self._value = self._value, None
        return value  # type: ignore[return-value]  # the work is over

    def do(self) -> None:
        """On a thread. Never raises."""
        work, self.work = self.work, None
        assert work is not None
        self.began = monotonic_ns()
        try:
            self._value = work()
        except BaseException as error:  # a model's code must end no thread of ours
            self._error = error
        self.ended = monotonic_ns()

    def cancel(self) -> None:
        """It will not begin."""
        self.work = None
        self._error = asyncio.CancelledError()

    def forget(self) -> None:
        """Nobody asks for its result."""
        self._value = self._error = None


class Pool:
    """User code off the event loop, which is always the same. The owner closes it after the last request.

    demand   what is asked of its threads, by all versions together
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = threads
        self._places = threads + max_waiting
        self._taken = 0
        self._asked = 0
        self._known = 0
        self._each_ns = 0.0
        self.demand = Demand(self._tell, monotonic_ns())
        self._line: OrderedDict[Job[Any], None] = OrderedDict()  # each of its own calls is one step
        self._done: deque[Job[Any]] = deque()
        self._has_told = False
        self._tell_by = 0
        self._looking = False
        self._timer: asyncio.TimerHandle | None = None
        self._came = self._begun_before = 0
        self._names = count()
        self._is_short = False
        self._changing = threading.Lock()  # what follows, and only for who sleeps or wakes
        self._alive = 0
        self._asleep: list[threading.Lock] = []
        self._closed = False

    def begin(self, model: str, work: Callable[[], T], told: Callable[[Job[T]], object]) -> Job[T]:
        """Have `work` done on a thread; `told` is called once it is over, on the loop, and must not raise.

        Raises `QueueFull` if the line is full, and `ServerStopping` once the pool is closed.
        """
        if self._closed:
            raise ServerStopping()
        self._asked += 1
        if self._taken >= self._places:
            raise QueueFull(model, self._taken, 1.0)
        self._taken += 1
        job = Job(work, told)
        self._line[job] = None
        self._came += 1
        if not self._looking:  # in the next turn, so that all that comes in this one goes together
            self._looking = True
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._look)
        return job

    def leave(self, job: Job[Any]) -> None:
        """Nobody waits for it any more: work that has not begun never begins; work that has, ends unheard."""
        job.told = None
        with suppress(KeyError):
            del self._line[job]
            self._came -= 1
            self._taken -= 1

    async def run(self, model: str, work: Callable[[], T]) -> Job[T]:
        """The same as `begin`, waited for; if the caller is cancelled, it leaves."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        job = self.begin(model, work, lambda _: None if over.done() else over.set_result(None))
        try:
            await over
        except asyncio.CancelledError:
            self.leave(job)
            job.forget()  # it may be over already
            raise
        return job

    def close(self) -> None:
        """What has not begun is cancelled. Does not wait for what has."""
        if self._timer is not None:
            self._timer.cancel()
        with self._changing:
            self._closed = True
            for sleeper in self._asleep:
                sleeper.release()
            self._asleep.clear()
        while (job := self._next()) is not None:
            job.cancel()
            self._over(job)

    # Who works.

    def _look(self) -> None:
        """Wake who is needed for what waits."""
        self._looking = False
        if not (self._line or self._done) or self._closed:
            return
        awake = self._alive - len(self._asleep)
        if self._each_ns >= LONG_NS:
            for _ in range(min(self._taken - len(self._done), self._threads) - awake):
                self._wake()
        elif self._line and not awake:
            self._wake()
        if self._timer is None:
            self._begun_before = self._begun
            after_s = LOOK_S if self._alive - len(self._asleep) < self._threads else LOOK_LATE_S
            self._timer = asyncio.get_running_loop().call_later(after_s, self._look_again)

    def _look_again(self) -> None:
        """A while later: where nothing has begun since, all who are awake are at long ones."""
        self._timer = None
        if self._done and not self._has_told and monotonic_ns() >= self._tell_by:
            self._settle()
        if (
            self._line
            and self._begun == self._begun_before
            and self._alive - len(self._asleep) < self._threads
        ):
            self._wake()
        self._look()

    @property
    def _begun(self) -> int:
        return self._came - len(self._line)

    def _wake(self) -> None:
        with self._changing:
            if self._asleep:
                self._asleep.pop().release()
                return
            self._alive += 1
        try:
            threading.Thread(target=self._work, name=f"stage_{next(self._names)}").start()
        except RuntimeError as error:  # the system gives no more now: the next look tries again
            with self._changing:
                self._alive -= 1
                is_first, self._is_short = not self._is_short, True
            if is_first:
                log.error("stage_thread_refused", threads=self._alive, error=str(error))
        else:
            self._is_short = False

    def _next(self) -> Job[Any] | None:
        try:
            return self._line.popitem(last=False)[0]
        except KeyError:
            return None

    def _work(self) -> None:
        """On each thread."""
        bed = threading.Lock()
        bed.acquire()
        while self._stays(bed):
            while (job := self._next()) is not None:
                job.do()
                self._done.append(job)
                tells = not (self._has_told or self._waits(job))
                del job
                if tells and self._loop is not None:
                    self._has_told = True
                    with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
                        self._loop.call_soon_threadsafe(self._settle)

    def _waits(self, job: Job[Any]) -> bool:
        """Whether what is done may wait for what is next."""
        if not self._line:
            return False
        tell_by = self._tell_by = self._tell_by or job.ended + int((job.began - job.queued) * COMPANY)
        return job.ended < tell_by

    def _stays(self, bed: threading.Lock) -> bool:
        """Sleep until there is something to do; False if the thread is to end."""
        with self._changing:
            if self._line:
                return True
            if self._closed:
                return False
            self._asleep.append(bed)
        if not bed.acquire(timeout=IDLE_S):
            with self._changing:
                if bed in self._asleep:
                    self._asleep.remove(bed)
                    self._alive -= 1
                    return False
            bed.acquire()  # it was woken just now
        return True

    # What is done.

    def _settle(self) -> None:
        """Tell those whose work is over."""
        self._has_told = False  # before the look: what is done from now on is told of anew
        self._tell_by = 0
        done = self._done
        for _ in range(len(done)):
            job = done.popleft()
            self._known = min(self._known + 1, MEMORY)
            self._each_ns += (job.ended - job.began - self._each_ns) / self._known
            self._over(job)

    def _over(self, job: Job[Any]) -> None:
        self._taken -= 1
        told, job.told = job.told, None
        if told is None:
            job.forget()
            return
        try:
            told(job)
        except Exception:  # none of the others' fault
            log.exception("stage_answer_lost")

    def _tell(self) -> Asked:
        return Asked(self._asked, self._each_ns, self._threads)
