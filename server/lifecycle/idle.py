"""One version that is ready and not in memory: verified, described, and loaded when a request comes.

It stands in the table where the loaded version stood or will stand. Requests that find it wait for one and
the same load; each leaves when its own time is over, and the load goes on for the others. Who waited goes on
to the loaded version, which is of the same content, and keeps that from leaving again meanwhile.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from server.domain.catalogue import VersionFacts
from server.domain.errors import ModelNotReady, QueueFull, ServerStopping, ServingError
from server.domain.offer import ModelOffer, VersionOffer
from server.domain.request import FOREVER
from server.lifecycle.instances import Content
from server.lifecycle.leases import Leases
from server.lifecycle.residency.accountant import Bytes, Key
from server.lifecycle.residency.estimate import Estimate, Reading
from server.lifecycle.stamps import Stamps
from server.lifecycle.version import ServedVersion
from server.lifecycle.warmup import Learned
from server.observe.residency import ResidencyTally
from server.scheduling.plan import Plan


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version comes from, and comes from again.

    stamps   how its files were when they were found good; empty where they are not looked at
    """

    offer: ModelOffer
    version: VersionOffer
    content: Content
    stamps: Stamps

    @property
    def key(self) -> Key:
        return self.offer.name, self.version.version


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a version from when it was last in memory, or from its trial.

    needs      bytes by device, to be there before it is loaded
    estimate   where these come from; None if they were counted when it was in memory
    load_s     how long a load takes
    learned    how long its runs take
    """

    needs: Bytes
    estimate: Estimate | None
    load_s: float
    learned: Learned

    @property
    def is_to_be_measured(self) -> bool:
        """Whether a load tells more than is known."""
        return self.estimate is not None and not (self.estimate.tried and self.needs.keys() <= {"cpu"})

    def settled(self, reading: Reading) -> Bytes:
        """What it takes, once a load has shown it."""
        return self.needs if self.estimate is None else self.estimate.settled(reading)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many requests may wait for one version to be loaded, and how many bytes of their inputs."""

    requests: int
    bytes: int


@dataclass(eq=False, slots=True)
class _Waiter:
    """One that waits: for `came`, and until it is `over` it keeps what came in memory.

    size   of a request's inputs; None for a call to load it, which has no place in the queue
    """

    size: int | None
    deadline: float
    came: "asyncio.Future[ServedVersion]"
    over: "asyncio.Future[None]"


def bounds_of(plan: Plan) -> Bounds:
    """Those of its queue, once it is loaded."""
    return Bounds(sum(level.max_size for level in plan.levels), plan.max_queue_bytes)


class IdleVersion:
    """What a request reaches.

    facts     what clients are told, as of a version in memory; it stands on no device
    content   what it is made of, to tell whether an offer is another
    version   its number, as on the wire
    staged    always: more happens than one run
    is_guess  whether the facts are of other content of this model: only what is loaded can refuse a request
    """

    staged: Literal[True] = True

    def __init__(
        self,
        *,
        facts: VersionFacts,
        origin: Origin,
        known: Known,
        bounds: Bounds,
        fetch: "Callable[[IdleVersion], None]",
        tally: ResidencyTally,
        within_s: float,
        is_guess: bool = False,
    ) -> None:
        """`fetch` begins the load, which ends with `became` or `failed`; `tally` counts those who wait.

        Nobody waits for longer than `within_s`, though the load goes on.
        """
        self.facts = facts
        self.version = str(facts.version)
        self.content = origin.content
        self.origin = origin
        self.known = known
        self.is_guess = is_guess
        self.bounds = bounds
        self._within_s = within_s
        self._fetch = fetch
        self._tally = tally
        self._waiting: dict[_Waiter, None] = {}
        self._requests = self._bytes = 0
        self._is_coming = False
        self._leases = Leases()

    @property
    def is_coming(self) -> bool:
        """Whether it is being loaded, or about to be."""
        return self._is_coming

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits for it."""
        return bool(self._waiting)

    @property
    def load_by(self) -> float | None:
        """When the load has to begin for the first who waits to be in time; None for no such time."""
        soonest = min((waiter.deadline for waiter in self._waiting), default=FOREVER)
        return None if soonest == FOREVER else soonest - self.known.load_s

    async def bring(self, stay: ExitStack, size: int, deadline: float = FOREVER) -> ServedVersion:
        """Wait until it is in memory, where it then stays until `stay` is closed.

        `size` is of the caller's inputs; who makes room is told the `deadline`, which is not watched here.
        Raises `QueueFull` at once if too many wait, or what kept it from being loaded.
        """
        self._check_bounds(size)
        began = monotonic()
        self._requests += 1
        self._bytes += size
        self._tally.cold[self.facts.model, self.version] += 1
        loaded = await self._wait(stay, size, deadline)
        self._tally.wait_s.add(monotonic() - began)
        return loaded

    async def brought(self) -> None:
        """Wait until it is in memory, as who has it loaded. Raises what kept it from that."""
        with ExitStack() as stay:
            await self._wait(stay, None, FOREVER)

    def became(self, loaded: ServedVersion) -> None:
        """It is in memory: all who wait go on to that."""
        self._is_coming = False
        for waiter in self._waiting:
            loaded.hold(waiter.over)
            if not waiter.came.done():
                waiter.came.set_result(loaded)

    def failed(self, error: ServingError) -> None:
        """It cannot be had now: all who wait are told so. The next to ask tries again."""
        self._is_coming = False
        for waiter in self._waiting:
            if not waiter.came.done():
                waiter.came.set_exception(error)

    def lease(self) -> AbstractContextManager[None]:
        """Be one of those who have found it."""
        return self._leases.one()

    def hold(self, task: "asyncio.Future[Any]") -> None:
        """The same until this task is over, from now on and not only once it has begun."""
        self._leases.until(task)

    async def retire(self, within_s: float) -> None:
        """Let those who have found it have their answers; whoever still waits after that is told to go."""
        await self._leases.ended(within_s)
        self.failed(ServerStopping())

    async def _wait(self, stay: ExitStack, size: int | None, deadline: float) -> ServedVersion:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(size, deadline, loop.create_future(), loop.create_future())
        self._waiting[waiter] = None
        stay.callback(self._leave, waiter)
        if not self._is_coming:
            self._is_coming = True
            self._fetch(self)
        try:
            async with asyncio.timeout(self._within_s):
                return await waiter.came
        except TimeoutError:
            raise ModelNotReady(
                f"model '{self.facts.model}' version {self.version} is still not loaded after "
                f"{self._within_s:g} s; its load goes on"
            ) from None

    def _check_bounds(self, size: int) -> None:
        bounds, waiting = self.bounds, self._requests
        if waiting >= bounds.requests:
            raise QueueFull(self.facts.model, waiting, self.known.load_s, " for it to be loaded")
        if waiting and self._bytes + size > bounds.bytes:
            why = f" for it to be loaded, with {self._bytes} bytes of the {bounds.bytes} that inputs may hold"
            raise QueueFull(self.facts.model, waiting, self.known.load_s, why)

    def _leave(self, waiter: _Waiter) -> None:
        del self._waiting[waiter]
        if waiter.size is not None:
            self._requests -= 1
            self._bytes -= waiter.size
        waiter.over.cancel()
        if waiter.came.done() and not waiter.came.cancelled():
            waiter.came.exception()  # who left at the last moment has no use for it
