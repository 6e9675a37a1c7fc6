"""The three stages of a version, in their order."""

from typing import Literal

StageName = Literal["pre", "predict", "post"]

STAGES: tuple[StageName, ...] = ("pre", "predict", "post")
