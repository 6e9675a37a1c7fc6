"""Which requests are traced: settings in Triton's terms, for all models and for single ones.

A request that comes with a sampled `traceparent` is traced wherever tracing is not off, whatever the rate:
its caller has decided. One whose caller decided against it is not. Of all others every so-many-th is.

Source: Triton's trace extension, and its `--trace-config`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

from server.observe.tracing.parent import Parent

Level = Literal["OFF", "TIMESTAMPS"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """In force for a model.

    level           whether anything is traced
    rate            every so-many-th request is; 0 for none that does not ask for it
    count           so many more are, of those by rate; -1 for no end
    log_frequency   traces between two files of mode `triton`, which is not offered: it is kept, and shown
    """

    level: Level = "OFF"
    rate: int = 1000
    count: int = -1
    log_frequency: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a client wants otherwise: None leaves a setting as it is.

    cleared   names of fields that go back to what holds for all models, or held at the start
    """

    level: Level | None = None
    rate: int | None = None
    count: int | None = None
    log_frequency: int | None = None
    cleared: frozenset[str] = frozenset()

    @property
    def given(self) -> Mapping[str, Level | int]:
        named = {field.name: getattr(self, field.name) for field in fields(Sampling)}
        return {name: value for name, value in named.items() if value is not None}


class _Counted:
    """Counts the requests that one group of settings is about. `left` are the traces by rate to come."""

    __slots__ = ("left", "seen")

    def __init__(self, left: int) -> None:
        self.seen = 0
        self.left = left

    def picks(self, rate: int) -> bool:
        if not rate or not self.left:
            return False
        self.seen += 1
        if self.seen < rate:
            return False
        self.seen = 0
        self.left -= self.left > 0
        return True


class Sampler:
    """Lives on the event loop. A model without settings of its own is counted with all others."""

    def __init__(self, at_start: Sampling) -> None:
        self._at_start = at_start
        self._own: dict[str, Mapping[str, Level | int]] = {}
        self._holds: dict[str, Sampling] = {"": at_start}
        self._counted: dict[str, _Counted] = {"": _Counted(at_start.count)}

    def of(self, model: str = "") -> Sampling:
        """What is in force, with what is left of the count; for all models where none is named."""
        whose = model if model in self._own else ""
        return replace(self._holds[whose], count=self._counted[whose].left)

    def change(self, change: Change, model: str = "") -> Sampling:
        """What holds from now on. A count begins anew whenever one is named, or cleared."""
        if model:
            own = {**self._own.get(model, {}), **change.given}
            self._own[model] = {name: value for name, value in own.items() if name not in change.cleared}
            self._counted.setdefault(model, _Counted(self._holds[""].count))
            if not self._own[model]:
                del self._own[model], self._counted[model]
        else:
            cleared = {name: getattr(self._at_start, name) for name in change.cleared}
            self._holds[""] = replace(self._holds[""], **cleared, **change.given)  # type: ignore[arg-type]
        whole = self._holds[""]
        self._holds = {"": whole, **{each: replace(whole, **own) for each, own in self._own.items()}}  # type: ignore[arg-type]
        if model in self._holds and ("count" in change.cleared or change.count is not None):
            self._counted[model].left = self._holds[model].count
        return self.of(model)

    def picks(self, model: str, parent: Parent | None = None) -> bool:
        """Whether this request is traced."""
        whose = model if model in self._own else ""
        holds = self._holds[whose]
        if holds.level == "OFF":
            return False
        return parent.sampled if parent is not None else self._counted[whose].picks(holds.rate)
