"""Has candidates tried before they serve: knows what was tried before, and asks a nursery for the rest.

The event loop only waits. So many trials at once as the manager loads; each has a deadline, in the
nursery and, should that hang, here. Closing ends all of them.
"""

import asyncio
import io
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Container
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import structlog

from runtimes.errors import RuntimeFault
from server.domain.configuration import Platform
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.ending import Ending, Limits, reason
from server.lifecycle.nursery import HEAD
from server.lifecycle.trial import Job
from server.lifecycle.verdict import Verdict, VerdictUnreadable, depends_on_its_own_code, key, surroundings
from server.lifecycle.verdicts import Verdicts

log = structlog.get_logger(__name__)

GRACE_S = 30.0
"""Beyond the time of a trial, until a silent nursery counts as lost: it may have to import torch first."""

MOST_LINES = 10_000
LONGEST_LINE = 2**20
SHOWN = 1000
"""Of what a rejected candidate printed, in the log: characters from the end."""

ATTEMPTS = 2
"""A nursery may just be going, idle, when a candidate comes; the next one is new."""


def content_of(offer: ModelOffer, version: VersionOffer) -> str:
    """What tells one content of a version from another."""
    return f"{offer.fingerprint}:{version.fingerprint}"


@dataclass(frozen=True, slots=True)
class _Patience:
    """Somebody waits for a trial of this content, for as long as the timeout says."""

    model: str
    content: str
    patience: asyncio.Timeout


class CandidateRejected(RuntimeFault):
    """A version is not to serve: the sentence says what its trial found."""


class _NurseryLost(Exception):
    """The answers ended before the trial did."""


class Trials:
    """Verdicts on candidates, from memory or by trial.

    limits    of one trial
    at_once   trials under way, at most
    wants_example   see `Job`
    """

    def __init__(
        self,
        verdicts: Verdicts,
        *,
        limits: Limits,
        at_once: int,
        auto_complete: bool = True,
        wants_example: bool = False,
    ) -> None:
        self._verdicts = verdicts
        self._limits = limits
        self._auto_complete = auto_complete
        self._wants_example = wants_example
        self._around = surroundings(auto_complete)
        self._turns = asyncio.Semaphore(at_once)
        self._nurseries: dict[str, _Nursery] = {}
        self._waiting: dict[asyncio.Task[Any], _Patience] = {}
        self._closed = False

    async def check(self, offer: ModelOffer, version: VersionOffer) -> None:
        """Return if the version may serve; raises `CandidateRejected`. Closing the trials cancels it."""
        verdict = await self.verdict(offer, version)
        if verdict.reason:
            raise CandidateRejected(verdict.reason)

    async def verdict(self, offer: ModelOffer, version: VersionOffer) -> Verdict:
        """What is known of this content, else what a trial finds. An ensemble has no file to try."""
        platform = _platform(offer, version)
        if platform == Platform.ENSEMBLE:
            return Verdict(lasting=False)
        name = key(offer, version, self._around)
        known = await asyncio.to_thread(self._verdicts.of, name)
        if known is not None:
            return known
        task = asyncio.current_task()
        if task is None or self._closed:
            raise asyncio.CancelledError
        try:
            async with asyncio.timeout(None) as patience:
                self._waiting[task] = _Patience(offer.name, content_of(offer, version), patience)
                verdict = await self._tried(offer, version, platform)
        except TimeoutError:
            raise CandidateRejected("it changed, or was not wanted any more, while it was verified") from None
        finally:
            self._waiting.pop(task, None)
        await asyncio.to_thread(self._verdicts.put, name, verdict)
        return verdict

    def abandon(self, model: str, wanted: Container[str]) -> None:
        """End the trials of a model's contents that are not `wanted` any more: rejected, for that reason."""
        for waiting in self._waiting.values():
            if waiting.model == model and waiting.content not in wanted:
                waiting.patience.reschedule(asyncio.get_running_loop().time())

    def close(self) -> None:
        """End every trial; the tasks that wait for one are cancelled. Their processes then go."""
        self._closed = True
        for task in list(self._waiting):
            task.cancel()
        for nursery in self._nurseries.values():
            nursery.close()

    async def _tried(self, offer: ModelOffer, version: VersionOffer, platform: str) -> Verdict:
        async with self._turns:
            job = _pickled(Job(offer, version, self._auto_complete, self._wants_example))
            for _ in range(ATTEMPTS):
                nursery = self._nurseries.setdefault(platform, _Nursery(self._limits, platform))
                try:
                    async with asyncio.timeout(self._limits.timeout_s + GRACE_S):
                        found = await _Hearing(offer, version, self._limits).of(await nursery.begin(job))
                except (_NurseryLost, TimeoutError, OSError) as error:
                    log.warning("nursery_lost", model=offer.name, version=version.version, reason=repr(error))
                    await asyncio.to_thread(nursery.end)
                    continue
                return found
        return Verdict(
            reason="it could not be tried: the process that tries candidates went away; the log says more",
            lasting=False,
        )


class _Nursery:
    """The server's side of one nursery: started when it is needed, and again when it has gone."""

    def __init__(self, limits: Limits, platform: str) -> None:
        self._limits = limits
        self._platform = platform
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lock = asyncio.Lock()

    async def begin(self, job: bytes) -> socket.socket:
        """Hand it a job; the socket on which its answers come is the caller's to close."""
        ours, theirs = socket.socketpair()
        try:
            async with self._lock:
                await asyncio.to_thread(self._hand_over, theirs, job)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def close(self) -> None:
        """It sees its control socket end, kills what it has under way, and goes."""
        if self._control is not None:
            self._control.close()

    def end(self) -> None:
        """The same, and wait for it; the next job starts another."""
        self.close()
        if self._process is not None:
            try:
                self._process.wait(1.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control = self._process = None

    def _hand_over(self, theirs: socket.socket, job: bytes) -> None:
        if self._process is not None and self._process.poll() is not None:
            self.end()
        if self._control is None:
            self._start()
        assert self._control is not None
        socket.send_fds(self._control, [HEAD.pack(len(job))], [theirs.fileno()])
        self._control.sendall(job)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "server.lifecycle.nursery", str(theirs.fileno())),
                    *(str(self._limits.timeout_s), str(self._limits.memory_bytes), self._platform),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C is the server's to answer
                env=_environment(),
            )
        ours.settimeout(GRACE_S)
        self._control = ours


class _Hearing:
    """Listens to one trial, and makes a verdict of what it says and how it ends."""

    def __init__(self, offer: ModelOffer, version: VersionOffer, limits: Limits) -> None:
        self._offer = offer
        self._version = version
        self._limits = limits
        self._stage = "its start"
        self._verdict: Verdict | None = None
        self._fault = ""

    async def of(self, answers: socket.socket) -> Verdict:
        """Raises `_NurseryLost`."""
        try:
            reader, writer = await asyncio.open_connection(sock=answers, limit=LONGEST_LINE)
        except BaseException:
            answers.close()
            raise
        try:
            for _ in range(MOST_LINES):
                ending = self._hear(await _line(reader))
                if ending is not None:
                    return self._judged(ending)
        finally:
            writer.close()
        raise _NurseryLost("it says more than a trial has to say")

    def _hear(self, line: dict[str, Any]) -> Ending | None:
        """One line; the last one is the ending. One without sense is the candidate's: passed over."""
        match line:
            case {"at": str(stage)}:
                self._stage = stage
            case {"fault": str(fault)}:
                self._fault = fault
            case {"verdict": values}:
                try:
                    self._verdict = Verdict.from_json(values)
                except VerdictUnreadable as error:
                    self._fault = str(error)
            case {"ending": dict(values)}:
                return Ending(**values)
        return None

    def _judged(self, ending: Ending) -> Verdict:
        facts = {"model": self._offer.name, "version": self._version.version}
        if self._verdict is not None and not ending.limit:
            verdict = self._verdict
        elif self._fault and not ending.limit and not ending.signal:
            log.error("trial_failed", **facts, stage=self._stage, reason=self._fault)
            verdict = Verdict(reason=f"internal error at {self._stage} of its trial", lasting=False)
        else:
            verdict = Verdict(
                reason=reason(ending, self._stage, self._limits),
                lasting=ending.is_a_crash and not depends_on_its_own_code(self._version),
                peak_bytes=ending.peak_bytes,
            )
        _tell(verdict, ending.said, facts)
        return verdict


def _tell(verdict: Verdict, said: str, facts: dict[str, Any]) -> None:
    """In the log. The reason of a rejection is logged by whoever acts on it."""
    if verdict.reason:
        passed, printed = "; ".join(verdict.checked), said[-SHOWN:].strip()
        log.info("version_rejected", **facts, passed=passed, printed=printed)
        return
    for doubt in verdict.doubts:
        log.warning("version_doubtful", **facts, reason=doubt)
    log.info(
        "version_verified",
        **facts,
        checked="; ".join(verdict.checked),
        loaded_bytes=verdict.loaded_bytes,
        peak_bytes=verdict.peak_bytes,
    )


async def _line(reader: asyncio.StreamReader) -> dict[str, Any]:
    try:
        text = await reader.readline()
    except ValueError:
        raise _NurseryLost("it says a line that is too long") from None
    if not text.endswith(b"\n"):
        raise _NurseryLost("it ended before the trial did")
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _platform(offer: ModelOffer, version: VersionOffer) -> str:
    assert offer.config is not None
    return str(offer.config.platform or Platform.ONNX)


def _environment() -> dict[str, str]:
    """Ours, but on the CPU, with one thread for matrices, and with the same places to import from."""
    places = [os.getcwd() if place == "" else place for place in sys.path]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(places),
        "CUDA_VISIBLE_DEVICES": "",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _pickled(job: Job) -> bytes:
    kept = io.BytesIO()
    _Pickler(kept).dump(job)
    return kept.getvalue()


class _Pickler(pickle.Pickler):
    """An offer's mappings are read-only views, which pickle does not know."""

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, MappingProxyType):
            return _viewed, (dict(thing),)
        return NotImplemented


def _viewed(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)
