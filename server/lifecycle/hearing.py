"""Listens to one trial or preparation: makes of what it says, and how it ends, a verdict or a reason."""

import asyncio
import json
import socket
from typing import Any

import structlog

from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.ending import Ending, Limits, reason
from server.lifecycle.verdict import Verdict, VerdictUnreadable, depends_on_its_own_code

log = structlog.get_logger(__name__)

MOST_LINES = 10_000
LONGEST_LINE = 2**20
SHOWN = 1000
"""Of what a rejected candidate printed, in the log: characters from the end."""


class NurseryLost(Exception):
    """The answers ended before the trial did."""


class Hearing:
    """For one trial."""

    def __init__(self, offer: ModelOffer, version: VersionOffer, limits: Limits) -> None:
        self._offer = offer
        self._version = version
        self._limits = limits
        self._stage = "its start"
        self._verdict: Verdict | None = None
        self._fault = ""
        self._prepared: str | None = None

    async def of(self, answers: socket.socket) -> Verdict:
        """Raises `NurseryLost`."""
        return self._judged(await self._heard(answers))

    async def of_preparation(self, answers: socket.socket) -> str:
        """Why what was prepared is not to be used; empty if it is. Raises `NurseryLost`."""
        ending = await self._heard(answers)
        if self._prepared is not None and not ending.limit:
            return self._prepared
        return self._fault or reason(ending, self._stage, self._limits)

    async def _heard(self, answers: socket.socket) -> Ending:
        try:
            reader, writer = await asyncio.open_connection(sock=answers, limit=LONGEST_LINE)
        except BaseException:
            answers.close()
            raise
        try:
            for _ in range(MOST_LINES):
                ending = self._hear(await _line(reader))
                if ending is not None:
                    return ending
        finally:
            writer.close()
        raise NurseryLost("it says more than a trial has to say")

    def _hear(self, line: dict[str, Any]) -> Ending | None:
        """One line; the last one is the ending. One without sense is the candidate's: passed over."""
        match line:
            case {"at": str(stage)}:
                self._stage = stage
            case {"fault": str(fault)}:
                self._fault = fault
            case {"prepared": str(why_not)}:
                self._prepared = why_not
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
                may_pass=ending.may_pass,
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
        raise NurseryLost("it says a line that is too long") from None
    if not text.endswith(b"\n"):
        raise NurseryLost("it ended before the trial did")
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
