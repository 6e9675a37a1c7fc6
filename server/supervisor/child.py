"""One process of the fleet, from its start to its end.

It has a session of its own, so that Ctrl-C reaches it by way of us and in order, and gets SIGTERM from the
kernel when the supervisor dies, however that comes.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic

from server.supervisor.fetch import NoAnswer, fetch
from server.supervisor.journal import Journal
from server.supervisor.plan import Seat

PR_SET_PDEATHSIG = 1
ASK_WITHIN_S = 2.0
ASK_AGAIN_S = 0.05
LOOK_AGAIN_S = 1.0
LAST_LINES_S = 1.0
"""How long what a process has said may take to come after its end: its own children may hold the pipe."""

MOST_SENTENCES = 20
OUR_SENTENCE = "tercet: "

_libc = ctypes.CDLL(None, use_errno=True)


def _tie_to(supervisor: int) -> None:
    """In the new process, between fork and exec: no lock is taken that another thread might have held."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:  # it died before that was set
        os._exit(1)


class Child:
    """A process that runs, from when this is made. Raises `OSError` if there can be none.

    Not to be made by another thread than the loop's: the kernel ties a process to the thread that started it,
    and to that one's end.

    ended      set once it is gone; then `code` is its exit code, below 0 for a signal
    started    set once it has tried what it is to serve
    ready      whether it said so when it was last asked
    """

    def __init__(
        self, seat: Seat, command: Sequence[str], environment: Mapping[str, str], metrics_port: int
    ) -> None:
        self.seat = seat
        self.metrics_port = metrics_port
        self.ended = asyncio.Event()
        self.started = asyncio.Event()
        self.ready = False
        self._born = monotonic()
        self._died = 0.0
        self._said_all = asyncio.Event()
        self._sentences: deque[str] = deque(maxlen=MOST_SENTENCES)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            preexec_fn=partial(_tie_to, os.getpid()),
        )
        self._watch()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        return self._process.returncode

    @property
    def age_s(self) -> float:
        return (self._died or monotonic()) - self._born

    @property
    def sentences(self) -> list[str]:
        """What it said to the operator rather than to the log."""
        return list(self._sentences)

    async def observe(self, journal: Journal) -> None:
        """Write down what it says, and ask how it is, again and again, until it has ended."""
        process = self._process
        assert process.stdout is not None
        assert process.stderr is not None
        pipes = [
            await journal.follow(self.seat, process.stdout, None),
            await journal.follow(self.seat, process.stderr, self._hear),
        ]
        while not self.ended.is_set():
            if not self.started.is_set() and await self._says("started"):
                self.started.set()
            self.ready = self.started.is_set() and await self._says("ready")
            pause = LOOK_AGAIN_S if self.ready else ASK_AGAIN_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.ended.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_LINES_S):
                for pipe in pipes:
                    await pipe.wait()
        self._said_all.set()

    async def leave(self, within_s: float) -> None:
        """Ask it to go, and see to it that it does. Back once it is gone."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                await self.ended.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self.ended.wait()

    async def last_words(self) -> None:
        """Once it has ended: until all it said is in the log, unless children of its own talk on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * LAST_LINES_S):
                await self._said_all.wait()

    async def _says(self, what: str) -> bool:
        try:
            status, _ = await fetch(self.metrics_port, f"/v2/health/{what}", within_s=ASK_WITHIN_S)
        except NoAnswer:
            return False
        return status == 200

    def _hear(self, text: str) -> None:
        if OUR_SENTENCE in text:
            lines = text.split("\n")
            said = [line.removeprefix(OUR_SENTENCE) for line in lines if line.startswith(OUR_SENTENCE)]
            self._sentences.extend(said)

    def _signal(self, number: signal.Signals) -> None:
        if not self.ended.is_set():  # not reaped yet, so that the id is still its own
            os.kill(self.pid, number)

    def _watch(self) -> None:
        """Be told of its end by the kernel."""
        handle = os.pidfd_open(self.pid)
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(handle)
            os.close(handle)
            self._process.wait()
            self._died = monotonic()
            self.ready = False
            self.ended.set()

        loop.add_reader(handle, gone)
