"""One thing that is wrong with a configuration, before it is known where in which file it stands."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the field's path, such as input[0].dims[1], and a sentence."""

    field: str
    sentence: str
