"""The images' Dockerfile as data: its stages, each with its instructions in order."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO

from dockerfile_parse import DockerfileParser

from tests.server_process import ROOT

FILE = ROOT / "deploy" / "docker" / "Dockerfile"


@dataclass
class Stage:
    """One `FROM`, and what follows it up to the next. `inherited` has that of the stages it is made from."""

    base: str
    own: list[tuple[str, str]] = field(default_factory=list)
    inherited: list[tuple[str, str]] = field(default_factory=list)

    @property
    def all(self) -> list[tuple[str, str]]:
        return [*self.inherited, *self.own]

    def last(self, instruction: str) -> str:
        """What holds in the end."""
        return [value for name, value in self.all if name == instruction][-1]

    def words(self, instruction: str) -> list[str]:
        """Of an instruction in the exec form; anything else would need a shell."""
        words: list[str] = json.loads(self.last(instruction))
        return words

    def environment(self) -> Mapping[str, str]:
        pairs = (value for name, value in self.all if name == "ENV")
        return dict(pair.split("=", 1) for value in pairs for pair in value.split())

    def labels(self) -> Mapping[str, str]:
        pairs = (value for name, value in self.all if name == "LABEL")
        return dict(re.findall(r'([\w.]+)="([^"]*)"', " ".join(pairs)))


@cache
def stages() -> Mapping[str, Stage]:
    found: dict[str, Stage] = {}
    parser = DockerfileParser(fileobj=BytesIO(FILE.read_bytes()))
    current = Stage("")
    for each in parser.structure:
        name, value = each["instruction"], each["value"]
        if name == "FROM":
            base, _, called = value.partition(" AS ")
            before = found.get(base)
            current = found[called] = Stage(base, inherited=list(before.all) if before else [])
        elif name != "COMMENT":
            current.own.append((name, value))
    return found
