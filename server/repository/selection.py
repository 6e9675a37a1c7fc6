"""Which models of a repository this server is for."""

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Names as patterns of a shell: `*`, `?` and `[...]`, upper and lower case told apart.

    include   a model must match one of them; empty for every model
    exclude   and none of these
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def admits(self, model: str) -> bool:
        included = not self.include or any(fnmatchcase(model, pattern) for pattern in self.include)
        return included and not any(fnmatchcase(model, pattern) for pattern in self.exclude)


EVERY_MODEL = Selection()
