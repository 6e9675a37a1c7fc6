"""What stands behind the doors of a process, as its roof handles it: models of its own, or those of tiers."""

import asyncio
from typing import Protocol

from server.app.doors import Behind


class Models(Protocol):
    """Opened before the doors and left after them. `behind` is what these are handed."""

    @property
    def behind(self) -> Behind: ...

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Start what it does by itself, in tasks of the group."""
        ...

    async def settled(self) -> None:
        """Wait until whatever is wanted at the start has been tried."""
        ...

    def all_serve(self) -> bool:
        """Whether that came to something, all of it."""
        ...

    def moved(self) -> None:
        """The station of the process is another: whoever watches it is to know."""
        ...

    def stop(self) -> None:
        """Begin nothing more: end those tasks. Requests that are under way are still answered."""
        ...
