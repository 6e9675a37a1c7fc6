"""One version that serves: its sessions, its batcher, its code, and who is using it.

Alive from the moment it is ready until it is retired: taken out of the table first, then left to
finish what it has, then closed. It is closed once.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from runtimes.session import Session
from server.domain.catalogue import VersionFacts
from server.domain.signature import Signature
from server.lifecycle.instance import Instance
from server.lifecycle.part import Part
from server.scheduling.batcher import Batcher
from server.scheduling.padding import PadRule


class ServedVersion:
    """What a request reaches.

    facts       what clients are told; its signature is what they see
    version     its number, as on the wire
    predicts    the signature of the model itself, behind pre- and post-processing code
    pre, post   this version's own code, or None
    padding     how its requests are padded, or None
    staged      whether more happens to a request than one plain run
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
        padding: PadRule | None,
    ) -> None:
        self.facts = facts
        self.version = str(facts.version)
        self.fingerprint = fingerprint
        self.predicts = predicts
        self.batcher = batcher
        self.pre = pre
        self.post = post
        self.padding = padding
        self.staged = (
            pre is not None
            or post is not None
            or padding is not None
            or predicts.most_rows > predicts.max_batch_size
        )
        self._instances = instances
        self._sessions = sessions
        self._leases = 0
        self._free = asyncio.Event()
        self._free.set()

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Keep the version alive while a request is between its stages."""
        self._leases += 1
        self._free.clear()
        try:
            yield
        finally:
            self._let_go()

    def hold(self, task: "asyncio.Future[Any]") -> None:
        """Keep the version alive until this task is over, from now on and not only once it has begun."""
        self._leases += 1
        self._free.clear()
        task.add_done_callback(self._let_go)

    def _let_go(self, _: object = None) -> None:
        self._leases -= 1
        if not self._leases:
            self._free.set()

    async def retire(self, within_s: float) -> None:
        """Let the last request have its answer, then give everything back."""
        try:
            async with asyncio.timeout(within_s):
                await self._free.wait()
        except TimeoutError:
            pass  # those that are still between stages find the batcher closed, and say so
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
