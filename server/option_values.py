"""What an option may be beside a plain number or text: each is read from one text, as a variable has it.

`server.settings` holds every option to one of these; a text that is none raises `ValueError` within pydantic.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeGuard

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema


def _listed(value: object) -> object:
    """One text may hold several values, with commas: a variable has no other way. Empty ones are none."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    return [part for part in parts if part != ""] if isinstance(parts, list) else parts


@dataclass(frozen=True, slots=True)
class ResourceLimit:
    """So much of a resource of the rate limiter, on every device or on those of one number."""

    name: str
    count: int
    device: int | None = None


_RESOURCE = re.compile(r"(?P<name>[^:]+):(?P<count>[1-9][0-9]*)(?::(?P<device>[0-9]+))?", re.ASCII)


def _resource(value: object) -> object:
    """As Triton writes it: NAME:COUNT, or NAME:COUNT:DEVICE."""
    if not isinstance(value, str):
        return value
    found = _RESOURCE.fullmatch(value)
    if found is None:
        raise ValueError(value)
    device = found["device"]
    return ResourceLimit(found["name"], int(found["count"]), None if device is None else int(device))


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """How much of a device's memory models may take: so many bytes, or a share of all that there is.

    device   "cpu", or "cuda:" and a number
    """

    device: str
    bytes: int | None = None
    share: float | None = None

    def of(self, total_bytes: int) -> int:
        """In bytes, on a device that has so many."""
        return self.bytes if self.bytes is not None else int(total_bytes * (self.share or 0))


_BUDGET = re.compile(
    r"(?P<device>cpu|cuda:(?:0|[1-9][0-9]{0,3}))=(?P<amount>[0-9]{1,18}(?:\.[0-9]{1,9})?)"
    r" ?(?P<unit>%|B|[KMGT]i?B|[KMGT]i)?",
    re.ASCII,
)
_POWER = {"K": 1, "M": 2, "G": 3, "T": 4}


def _budget(value: object) -> object:
    """DEVICE=SIZE: in bytes, KiB and the like (1024), KB and the like (1000), or % of what the device has."""
    if not isinstance(value, str):
        return value
    found = _BUDGET.fullmatch(value)
    if found is None:
        raise ValueError(value)
    amount, unit = float(found["amount"]), found["unit"] or "B"
    if unit == "%":
        if not 0 < amount <= 100:
            raise ValueError(value)
        return MemoryBudget(found["device"], share=amount / 100)
    size = int(amount * (1024 if "i" in unit else 1000) ** _POWER.get(unit[0], 0))
    if not 1 <= size < 2**60:
        raise ValueError(value)
    return MemoryBudget(found["device"], size)


def _pattern(value: str) -> str:
    try:
        re.compile(value.removeprefix("(?-i)"))
    except re.error as error:
        raise ValueError from error
    return value


Port = Annotated[int, Field(ge=0, le=65535)]


def _places(value: object) -> object:
    """Addresses stay as they are: a path would make one slash of two."""
    listed = _listed(value)
    if not isinstance(listed, (list, tuple)):
        return listed
    return [Path(each) if isinstance(each, str) and "://" not in each else each for each in listed]


Places = Annotated[tuple[Path | str, ...], BeforeValidator(_places)]
FilePath = Annotated[Path | None, BeforeValidator(lambda value: None if value == "" else value)]
Pattern = Annotated[str, AfterValidator(_pattern), WithJsonSchema({"type": "string", "format": "regex"})]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*$")]
Words = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: value.split() if isinstance(value, str) else value)
]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Resources = Annotated[
    tuple[Annotated[ResourceLimit, BeforeValidator(_resource)], ...],
    BeforeValidator(_listed),
    WithJsonSchema({"type": "array", "format": "resources"}),
]
Budgets = Annotated[
    tuple[Annotated[MemoryBudget, BeforeValidator(_budget)], ...],
    BeforeValidator(_listed),
    WithJsonSchema({"type": "array", "format": "budgets"}),
]

WAY_OF_KEYS = re.compile(r"(?!.*://).*|https://.+|http://(localhost|127\.0\.0\.1|\[::1\])([:/].*)?", re.ASCII)
_RIGHTS = re.compile(r"(none|(inference|control|metrics)(,(inference|control|metrics))*)?", re.ASCII)


def _rights(value: object) -> object:
    if isinstance(value, str) and _RIGHTS.fullmatch(value.replace(" ", "")) is None:
        raise ValueError(value)
    return value.replace(" ", "") if isinstance(value, str) else value


def _groups(value: object) -> object:
    """Several in one text are parted by semicolons: commas are theirs already."""
    parts = value.split(";") if isinstance(value, str) else value
    return [part for part in parts if part != ""] if isinstance(parts, list) else parts


AnonymousRights = Annotated[
    str, BeforeValidator(_rights), WithJsonSchema({"type": "string", "format": "rights"})
]
Groups = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[^:]+:[^=]+=.*$")], ...],
    BeforeValidator(_groups),
    WithJsonSchema({"type": "array", "format": "restrictions"}),
]

_ENDPOINT = re.compile(
    r"(dns:///)?(?P<host>\[[0-9a-fA-F:.%]+\]|[^\s:/,\[\]]+):(?P<port>[0-9]{1,5})", re.ASCII
)


_FOREIGN = re.compile(
    r"oip://(?P<host>\[[0-9a-fA-F:.%]+\]|[^\s:/,\[\]?@]+):(?P<port>[0-9]{1,5})"
    r"(\?model=[^\s&,=]+(&model=[^\s&,=]+)*)?",
    re.ASCII,
)
"""A server of the protocol that is none of ours."""


def _endpoints(value: object) -> object:
    """Several in one text, with commas, wherever it comes from: no address has a comma in it."""
    return _listed(",".join(value) if isinstance(value, list) and _all_text(value) else value)


def _all_text(values: list[object]) -> TypeGuard[list[str]]:
    return all(isinstance(each, str) for each in values)


def _endpoint(value: str) -> str:
    found = _ENDPOINT.fullmatch(value) or _FOREIGN.fullmatch(value)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise ValueError(value)
    return value


Endpoints = Annotated[
    tuple[Annotated[str, AfterValidator(_endpoint)], ...],
    BeforeValidator(_endpoints),
    WithJsonSchema({"type": "array", "format": "endpoints"}),
]
