"""Where a model's sessions live: in the server's own process, or in a worker process. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from runtimes.errors import ModelBroken

PARAMETER = "runtime_worker"

Default = Literal["off", "each", "group"]
"""For models that say nothing: in the server, each in a process of its own, or all of them in one."""

_GROUP = re.compile(r"group:([\w.-]{1,64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Home:
    """`group` is the name of the process that several share; empty for one of its own."""

    in_worker: bool
    group: str = ""


HERE = Home(in_worker=False)
OWN = Home(in_worker=True)
ALL_TOGETHER = Home(in_worker=True, group="*")


def home_of(parameters: Mapping[str, str], default: Default) -> Home:
    """As the model's parameter says, else the server's default. Raises `ModelBroken`."""
    said = parameters.get(PARAMETER)
    if said is None:
        return {"off": HERE, "each": OWN, "group": ALL_TOGETHER}[default]
    if said == "none":
        return HERE
    if said == "own":
        return OWN
    named = _GROUP.fullmatch(said)
    if named is None:
        raise ModelBroken(
            f"parameter {PARAMETER} is '{said}': it can be own, none, or group:NAME, where NAME is of "
            "letters, digits, _, . and -"
        )
    return Home(in_worker=True, group=named[1])
