"""Waiting for what nobody announces."""

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    """Return as soon as `holds()`; raise `TimeoutError` if that takes too long."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  (it is another thread's doing)
            await asyncio.sleep(0.005)
