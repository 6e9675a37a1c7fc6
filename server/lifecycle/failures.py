"""What did not come up: so that the same content is not tried in vain, and when it is tried again by itself.

Owned by the manager and used on its loop.
"""

from collections.abc import Callable
from functools import partial

import structlog

from server.domain.event import What
from server.lifecycle.attempts import Refusal
from server.lifecycle.events import Chronicle
from server.lifecycle.retries import Retries

log = structlog.get_logger(__name__)


class Failures:
    """The last failure of each version. `due` is called with a model whose version is to be tried again."""

    def __init__(self, retries: Retries, due: Callable[[str], None], events: Chronicle) -> None:
        self._retries = retries
        self._events = events
        self._due = due
        self._failed: dict[tuple[str, int], tuple[str, str]] = {}

    def why(self, model: str, version: int, content: str) -> str:
        """Why this content failed when it was last tried; empty if it did not."""
        failed, why = self._failed.get((model, version), ("", ""))
        return why if failed == content else ""

    def note(self, model: str, version: int, content: str, refusal: Refusal, wanted: bool) -> str:
        """This content did not come up; what is to be said of it.

        One that nobody wants any more may be wanted again: then it is tried anew, and not before.
        """
        if refusal.abandoned:
            self._retries.forget(model, version)
            return refusal.why
        again = wanted and refusal.may_pass
        why = f"{refusal.why}; it is tried again by itself" if again else refusal.why
        if wanted:
            self._failed[model, version] = content, why
        if again:
            wait_s = self._retries.again(model, version, content, partial(self._try_again, model, version))
            log.info("version_waits", model=model, version=version, wait_s=round(wait_s, 1))
            self._events.tell(What.WAITING, model, version, content, f"tried again in {wait_s:.1f} s")
        else:
            self._retries.forget(model, version)
        return why

    def blame(self, model: str, version: int, content: str, why: str) -> None:
        """This content came up, and has failed since. It is not tried again by itself."""
        self._failed[model, version] = content, why
        self._retries.forget(model, version)

    def quarantine(self, model: str, version: int, content: str, why: str, at_least_s: float) -> None:
        """This content came up, and has ended its process too often: it is left alone for a while."""
        self._failed[model, version] = content, why
        due = partial(self._try_again, model, version)
        wait_s = self._retries.again(model, version, content, due, at_least_s=at_least_s)
        self._events.tell(What.WAITING, model, version, content, f"tried again in {wait_s:.0f} s")

    def forgive(self, model: str, version: int) -> None:
        """It serves, or nobody wants it any more: how it failed is of no use."""
        self.overlook(model, version)
        self._retries.forget(model, version)

    def overlook(self, model: str, version: int) -> None:
        """Somebody asks for it: let the next attempt be made at once."""
        self._failed.pop((model, version), None)

    def _try_again(self, model: str, version: int) -> None:
        if self._failed.pop((model, version), None):
            self._due(model)
