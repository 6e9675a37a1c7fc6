"""What a door may ask about the models: who answers, and what is known of them.

Answered by the local lifecycle; in a gateway, one day, by what the tiers report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from server.domain.configuration import ModelConfig
from server.domain.errors import ModelNotReady
from server.domain.signature import Signature
from server.domain.state import Status
from server.observe.tally import Tally

NO_LABELS: Mapping[str, Sequence[str]] = MappingProxyType({})
NO_MEMORY: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """One version that serves, as metadata, configuration and statistics show it.

    signature   what clients see: with pre- or post-processing code, its declared contract
    labels      output name -> its class names, in order
    examples    golden examples, for people who want to see one
    devices     where its instances run, such as ("cpu",)
    down        why no run of it can be done at this moment, in a sentence; empty while all is well
    load_seconds   of opening it and of its warmup, which `warmup_seconds` are a part of
    memory      bytes counted for it by device, such as {"cpu": 4096}; empty where nothing is, or nobody knows
    """

    model: str
    version: int
    platform: str
    config: ModelConfig
    signature: Signature
    tally: Tally
    devices: tuple[str, ...]
    load_seconds: float
    warmup_seconds: float = 0.0
    labels: Mapping[str, Sequence[str]] = field(default_factory=lambda: NO_LABELS)
    examples: Sequence[Any] = ()
    memory: Mapping[str, int] = field(default_factory=lambda: NO_MEMORY)
    down: str = ""

    def check(self) -> None:
        """Raises `ModelNotReady` while no run of it can be done."""
        if self.down:
            raise ModelNotReady(
                f"model '{self.model}' version {self.version} is not at ready state: {self.down}"
            )


class Catalogue(Protocol):
    def facts(self, model: str, version: str = "") -> VersionFacts:
        """The version that a request for (`model`, `version`) would reach.

        Raises `ModelNotFound`, `ModelNotReady`, or `VersionMalformed` for what is no version.
        """
        ...

    def ready_versions(self, model: str) -> Sequence[int]:
        """Ascending; empty if none serves or the model is unknown."""
        ...

    def all_facts(self) -> Sequence[VersionFacts]:
        """Every version that serves, by name and version."""
        ...

    def index(self) -> Sequence[Status]:
        """The repository index: a line per version once something was tried, else one per model."""
        ...
