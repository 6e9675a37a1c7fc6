"""Which labels models have: what files beside their versions say, and what calls have said since.

A label is an entry of the table, as a version's number is, so a request by label costs what any request
does. What a call says holds until it is taken back, over reloads and, where there is a file for it, restarts.
Lives on the event loop.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from server.domain.errors import InvalidRequest, ModelNotFound
from server.domain.event import What
from server.domain.labels import MOST_LABELS, Label, Source, in_force, is_label
from server.lifecycle.events import Chronicle
from server.lifecycle.state_file import write_whole
from server.lifecycle.table import Table

log = structlog.get_logger(__name__)

Said = dict[str, dict[str, int]]
"""Model -> label -> version."""


class Labels:
    """`declared` tells what the file of a model says; `kept` remembers what calls say, None for nowhere."""

    def __init__(
        self,
        table: Table,
        events: Chronicle,
        declared: Callable[[str], Mapping[str, int]],
        kept: Path | None = None,
    ) -> None:
        self._table = table
        self._events = events
        self._declared = declared
        self._kept = kept
        self._said = _read(kept) if kept is not None else {}
        self._in_force: Said = {}
        self._writing = asyncio.Lock()

    def of(self, model: str) -> list[Label]:
        """In the order of their names. Raises `ModelNotFound`."""
        if model not in self._table.models:
            raise ModelNotFound(model)
        return self.known(model)

    def known(self, model: str) -> list[Label]:
        """The same; none of a model that is not there."""
        said = self._said.get(model, {})
        serving = self._table.versions(model)
        return [
            Label(name, version, Source.CALL if name in said else Source.FILE, version in serving)
            for name, version in sorted(self._in_force.get(model, {}).items())
        ]

    async def change(self, model: str, change: Mapping[str, int | None]) -> list[Label]:
        """Put labels on versions; None takes back what calls have said. All of it is done, or nothing.

        Returns once it is remembered. Raises `ModelNotFound`, or `InvalidRequest` for a version that does not
        serve.
        """
        if model not in self._table.models:
            raise ModelNotFound(model)
        serving = self._table.versions(model)
        for label, version in change.items():
            if version is not None and version not in serving:
                there_are = ", ".join(map(str, sorted(serving))) or "none"
                raise InvalidRequest(
                    f"label '{label}' cannot be put on version {version} of model '{model}', which does not "
                    f"serve; those that do: {there_are}"
                )
        before = self._said.get(model, {})
        said = {name: version for name, version in {**before, **change}.items() if version is not None}
        if len(said) > MOST_LABELS:
            raise InvalidRequest(f"model '{model}' would have {len(said)} labels; {MOST_LABELS} are allowed")
        if said != before:
            self._said[model] = said
            if not said:
                del self._said[model]
            self.refresh(model)
            await self._keep()
        return self.of(model)

    def refresh(self, model: str) -> None:
        """What a file says may have changed: let the table have what holds now."""
        before = self._in_force.get(model, {})
        now = in_force(self._declared(model), self._said.get(model, {}))
        if now == before:
            return
        self._in_force[model] = now
        if not now:
            del self._in_force[model]
        self._table.label(model, now)
        for label in sorted(before.keys() | now.keys()):
            if before.get(label) != now.get(label):
                self._tell(model, label, before.get(label), now.get(label))

    def _tell(self, model: str, label: str, before: int | None, now: int | None) -> None:
        where = "taken away" if now is None else f"put on version {now}"
        reason = f"label '{label}' is {where}" + (f"; it was on version {before}" if before else "")
        number = before if now is None else now
        assert number is not None
        served = self._table.versions(model).get(number)
        content = served.content.whole if served is not None else ""
        log.info("label_moved", model=model, label=label, version=now, before=before)
        self._events.tell(What.LABELLED, model, number, content, reason)

    async def _keep(self) -> None:
        if self._kept is None:
            return
        async with self._writing:
            content = json.dumps(self._said, indent=1, sort_keys=True).encode()
            try:
                await asyncio.to_thread(write_whole, self._kept, content)
            except OSError as error:
                log.warning("labels_not_kept", file=str(self._kept), reason=error.strerror)


def _read(path: Path) -> Said:
    """Blocks. A file that cannot be read is none, with a line in the log."""
    try:
        return _checked(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("labels_unreadable", file=str(path), reason=str(error))
        return {}


def _checked(document: object) -> Said:
    """Raises `ValueError`."""
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    for model, labels in document.items():
        if not isinstance(labels, dict) or not all(
            is_label(label) and type(version) is int for label, version in labels.items()
        ):
            raise ValueError(f"the labels of '{model}' are none")
    return document
