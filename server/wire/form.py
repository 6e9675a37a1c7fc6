"""How a caller wants the outputs written: as bytes or as JSON, whole or as the best classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from server.domain.errors import InvalidRequest

_NONE: Mapping[str, bool] = MappingProxyType({})
_NO_CLASSES: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """What one request asks of its answer.

    binary    whether an output that `chosen` does not name is written as bytes
    chosen    output name -> whether it is written as bytes
    classes   output name -> how many of its best classes are wanted, instead of its values
    batched   whether outputs have a batch dimension; only classes ask
    """

    binary: bool
    chosen: Mapping[str, bool] = field(default_factory=lambda: _NONE)
    classes: Mapping[str, int] = field(default_factory=lambda: _NO_CLASSES)
    batched: bool = False


AS_JSON = ReplyForm(binary=False)
AS_BYTES = ReplyForm(binary=True)


def form_of(
    wanted: Sequence[tuple[str, bool, int]], model: str, binary: bool, batched: bool
) -> tuple[tuple[str, ...], ReplyForm]:
    """The names of the wanted outputs, and the form that they take.

    `wanted` has (name, whether as bytes, how many classes or 0 for the values); `binary` is for
    outputs that are not named. Raises `InvalidRequest` for one named twice.
    """
    if not wanted:
        return (), AS_BYTES if binary else AS_JSON
    chosen: dict[str, bool] = {}
    classes: dict[str, int] = {}
    for name, as_bytes, count in wanted:
        if name in chosen:
            raise InvalidRequest(f"output '{name}' is requested more than once of model '{model}'")
        chosen[name] = as_bytes
        if count:
            classes[name] = count
    names = tuple(chosen)
    if classes:
        return names, ReplyForm(binary, chosen, classes, batched)
    if all(chosen.values()):
        return names, AS_BYTES
    return names, ReplyForm(binary, chosen) if any(chosen.values()) else AS_JSON
