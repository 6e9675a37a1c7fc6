"""One version that serves: its sessions, its batcher, its code, and who is using it.

Alive from the moment it is ready until it is retired: taken out of the table first, then left to
finish what it has, then closed. It is closed once.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from runtimes.session import Session
from server.domain.catalogue import VersionFacts
from server.domain.signature import Signature
from server.lifecycle.instance import Instance
from server.lifecycle.leases import Leases
from server.lifecycle.part import Part
from server.scheduling.batcher import Batcher


class ServedVersion:
    """What a request reaches.

    facts       what clients are told; its signature is what they see
    version     its number, as on the wire
    predicts    the signature of the model itself, behind pre- and post-processing code
    pre, post   this version's own code, or None
    queue_timeout_s   how long a request may wait at most, from the queue policy; None for no limit
    """

    def __init__(
        self,
        *,
        facts: VersionFacts,
        fingerprint: str,
        predicts: Signature,
        batcher: Batcher,
        instances: Sequence[Instance],
        sessions: Sequence[Session],
        pre: Part | None,
        post: Part | None,
        queue_timeout_s: float | None,
        timeout_override: bool,
    ) -> None:
        self.facts = facts
        self.version = str(facts.version)
        self.fingerprint = fingerprint
        self.predicts = predicts
        self.batcher = batcher
        self.pre = pre
        self.post = post
        self.queue_timeout_s = queue_timeout_s
        self.timeout_override = timeout_override
        self.staged = pre is not None or post is not None
        self._instances = instances
        self._sessions = sessions
        self._leases = Leases()

    def lease(self) -> AbstractContextManager[None]:
        """Keep the version alive while a request is between its stages."""
        return self._leases.one()

    def hold(self, task: "asyncio.Future[Any]") -> None:
        """Keep the version alive until this task is over, from now on and not only once it has begun."""
        self._leases.until(task)

    async def retire(self, within_s: float) -> None:
        """Let the last request have its answer, then give everything back."""
        await self._leases.ended(within_s)  # who is between stages even then finds the batcher closed
        await self.batcher.close(within_s)
        for instance in self._instances:
            instance.close()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for part in (self.pre, self.post):
            if part is not None:
                part.close()
        for session in self._sessions:
            session.close()
