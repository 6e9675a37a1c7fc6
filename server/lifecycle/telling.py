"""Says what becomes of versions: in the index, in the log and among the events, each once."""

from time import time

import structlog

from server.domain.event import What
from server.domain.offer import ModelOffer, content_of
from server.domain.state import VERIFYING, State, Status
from server.lifecycle.events import Chronicle, counts_of
from server.lifecycle.idle import IdleVersion
from server.lifecycle.served import Served
from server.lifecycle.table import Table

log = structlog.get_logger(__name__)


class Telling:
    """Lives on the event loop."""

    def __init__(self, table: Table, events: Chronicle) -> None:
        self._table = table
        self._events = events

    def seen(self, offer: ModelOffer) -> None:
        """What is on disk is told of once."""
        for version in offer.versions.values():
            self._events.see(offer.name, version.version, content_of(offer, version))

    def trial(self, model: str, version: int, content: str, begins: bool) -> None:
        """The index tells of a trial, unless the version serves with its old content."""
        if begins:
            self._events.tell(What.VERIFYING, model, version, content)
        if version not in self._table.versions(model):
            self.note(model, version, State.LOADING, VERIFYING if begins else "")

    def loading(self, model: str, version: int, content: str) -> None:
        log.info("version_loading", model=model, version=version)
        self._events.tell(What.LOADING, model, version, content)

    def ready(self, served: Served, replaced: Served | None) -> None:
        """It stands in the table, where until now `replaced` has stood."""
        facts, content = served.facts, served.content.whole
        model, version = facts.model, facts.version
        came_back = replaced is not None and replaced.content == served.content
        if not came_back:  # else what the index says of it holds on
            self.note(model, version, State.READY)
        if isinstance(served, IdleVersion):
            log.info("version_idle", model=model, version=version, platform=facts.platform)
            self._events.tell(What.READY, model, version, content, "it is loaded when it is asked for")
        else:
            log.info(
                "version_ready",
                model=model,
                version=version,
                platform=facts.platform,
                devices=facts.devices,
                load_s=round(facts.load_seconds, 3),
            )
            self._events.passages.loaded(model, facts.load_seconds, facts.warmup_seconds)
            if came_back:
                took = f"it was asked for; its load took {facts.load_seconds:.2g} s"
                self._events.tell(What.BROUGHT_BACK, model, version, content, took)
            else:
                self._events.tell(What.READY, model, version, content)
        if replaced is not None and not came_back:
            self.gone(What.SWAPPED, replaced, "new content of the same version serves")

    def failed(self, model: str, version: int, reason: str, content: str = "") -> None:
        """It did not come up; what serves with its number goes on."""
        if version in self._table.versions(model):
            is_news = self.note(model, version, State.READY, f"serving what it was before: {reason}")
        else:
            is_news = self.note(model, version, State.UNAVAILABLE, reason)
        if is_news:
            log.error("version_unavailable", model=model, version=version, reason=reason)
            self._events.tell(What.REJECTED, model, version, content, reason)

    def abandoned(self, model: str, version: int, content: str, reason: str) -> None:
        """Nobody wants it any more, so that it did not come up."""
        self._events.tell(What.REJECTED, model, version, content, reason)
        if version not in self._table.versions(model):
            self.note(model, version, State.UNAVAILABLE, reason)

    def unservable(self, model: str, problem: str) -> None:
        """A model cannot be served as it stands."""
        known = self._table.problem(model)
        if known is None or known.reason != problem:
            log.error("model_unavailable", model=model, reason=problem)
            self._table.know(model, Status(model, None, State.UNAVAILABLE, problem, time()))
            self._events.tell(What.REJECTED, model, None, reason=problem)

    def worker(self, served: Served) -> None:
        """The process that its model runs in has ended, or is back."""
        facts = served.facts
        self.note(facts.model, facts.version, State.READY, facts.down)
        what = What.WORKER_LOST if facts.down else What.WORKER_BACK
        self._events.tell(what, facts.model, facts.version, served.content.whole, facts.down)

    def gone(self, what: What, served: Served, reason: str) -> None:
        """It leaves, or has left."""
        facts = served.facts
        counts = counts_of(facts.tally)
        self._events.tell(what, facts.model, facts.version, served.content.whole, reason, counts)

    def note(self, model: str, version: int, state: State, reason: str = "") -> bool:
        """Put it into the index, unless it is there already; whether it is news."""
        known = self._table.statuses(model).get(version)
        if known is not None and (known.state, known.reason) == (state, reason):
            return False
        self._table.note(Status(model, version, state, reason, time()))
        return True
