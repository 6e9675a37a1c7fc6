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
        self._at_start = self._everyone = at_start
        self._own: dict[str, Mapping[str, Level | int]] = {}
        self._counted: dict[str, _Counted] = {"": _Counted(at_start.count)}

    def of(self, model: str = "") -> Sampling:
        """What is in force; for all models where none is named."""
        own = self._own.get(model)
        return self._everyone if own is None else replace(self._everyone, **own)  # type: ignore[arg-type]

    def change(self, change: Change, model: str = "") -> Sampling:
        """What holds from now on. A count begins anew whenever one is named."""
        if model:
            own = dict(self._own.get(model, {}))
            for name in change.cleared:
                own.pop(name, None)
            own.update(change.given)
            if own:
                self._own[model] = own
            else:
                self._own.pop(model, None)
                self._counted.pop(model, None)
        else:
            cleared = {name: getattr(self._at_start, name) for name in change.cleared}
            self._everyone = replace(self._everyone, **cleared, **change.given)  # type: ignore[arg-type]
        holds = self.of(model)
        counted = self._counted.get(model)
        if model in self._own and counted is None:
            self._counted[model] = _Counted(holds.count)
        elif counted is not None and (change.count is not None or "count" in change.cleared):
            counted.left = holds.count
        return holds

    def picks(self, model: str, parent: Parent | None = None) -> bool:
        """Whether this request is traced."""
        own = model if model in self._own else ""
        sampling = self.of(own)
        if sampling.level == "OFF":
            return False
        if parent is not None:
            return parent.sampled
        return self._counted[own].picks(sampling.rate)
