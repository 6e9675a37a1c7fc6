"""What a repository offers: models with their versions, or the reason why one cannot be had.

The repository makes these values, the lifecycle acts on them; neither knows the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from server.domain.configuration import ModelConfig
from server.domain.labels import NO_PINS
from server.domain.stage import StageName

NO_FILES: Mapping[str, Path] = MappingProxyType({})
NO_STAMPS: Mapping[str, tuple[int, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionOffer:
    """One version folder whose files have come to rest.

    fingerprint   of the content of everything in it: equal means nothing to do
    model_file    the file that the runtime opens; None for an ensemble, and for code around a model elsewhere
    pre, post     this version's own code, or None
    examples      golden example files, in the order of their names
    part          the one stage of it that this process is for; None for all of them
    stamps        file below its folder -> size, times of writing and of change, inode, as they were when its
                  content was read; empty where nobody took them. No part of what it is
    """

    version: int
    directory: Path
    fingerprint: str
    model_file: Path | None = None
    pre: Path | None = None
    post: Path | None = None
    examples: tuple[Path, ...] = ()
    part: StageName | None = None
    stamps: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: NO_STAMPS, compare=False)

    @property
    def stages(self) -> tuple[StageName, ...]:
        """Those that it has, in their order, whichever of them this process is for; none of an ensemble.

        Code without a model file has its model on another server.
        """
        has: tuple[tuple[StageName, bool], ...] = (
            ("pre", self.pre is not None),
            ("predict", any(file is not None for file in (self.pre, self.model_file, self.post))),
            ("post", self.post is not None),
        )
        return tuple(stage for stage, is_there in has if is_there)

    def loads(self, stage: StageName) -> bool:
        """Whether it has this stage, and that is loaded here."""
        return stage in self.stages and self.part in (None, stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOffer:
    """One model of a repository.

    config        None where it could not be read: then `problem` says why, with file and line, and
                  what serves already serves on as it was
    fingerprint   of the configuration and the files that it names
    fingerprint_but_instances   the same, whatever the instance groups say; empty where that is not told
    versions      those whose files are at rest, chosen by the version policy
    unsettled     those chosen that are still being written: leave them as they are
    broken        version -> why it cannot be offered, such as a folder without a model file
    on_disk       every version folder there is, chosen or not: what has left it is not served on
    problem       why the whole model cannot be served, such as a name in two repositories; or empty
    labels        label file name -> its path
    version_labels   label -> version, as a file beside the versions says; no part of any content
    one_by_one    somebody named the versions to be served, so all others go at once and are not waited for
    """

    name: str
    directory: Path
    config: ModelConfig | None
    fingerprint: str = ""
    fingerprint_but_instances: str = ""
    versions: Mapping[int, VersionOffer] = field(default_factory=dict)
    unsettled: frozenset[int] = frozenset()
    broken: Mapping[int, str] = field(default_factory=dict)
    on_disk: frozenset[int] = frozenset()
    problem: str = ""
    labels: Mapping[str, Path] = field(default_factory=lambda: NO_FILES)
    version_labels: Mapping[str, int] = field(default_factory=lambda: NO_PINS)
    one_by_one: bool = False


Offers = Mapping[str, ModelOffer]


def content_of(model: ModelOffer, version: VersionOffer) -> str:
    """What tells one content of a version from another."""
    return f"{model.fingerprint}:{version.fingerprint}"
