"""What one process of a tier tells of itself: the versions that it has, and how hard it is pressed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from server.domain.stage import StageName
from server.domain.state import State
from server.domain.tensors import TensorSpec

NO_LABELS: Mapping[str, Sequence[str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The tensors that a stage takes and gives.

    inputs, outputs   full shapes, the batch dimension first where `max_batch_size` is above 0; a pre tier
                      knows what its code takes and a post tier what its code gives: the other side is
                      empty where only another tier could tell
    most_rows         rows in one request, at most
    optional          names of inputs that a request may leave out
    declared          whether the version's own code declares one of them: else they are the model's
    """

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    max_batch_size: int = 0
    most_rows: int = 0
    optional: frozenset[str] = frozenset()
    declared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionReport:
    """One version as one tier has it; a model of which no version was ever tried has a line without one.

    version        None for what is told of a model as a whole, as in the repository index
    content        two tiers that report the same content have the same files
    gone           it is in this tier no more, and nothing else is said
    stages         those that the version has, in their order, whichever of them this tier does; none for an
                   ensemble
    config         `inference.ModelConfig`, serialised
    seen           None unless it is READY
    resident       whether it is in memory, and not only loadable on request
    leaving        another version is to take its place here; it goes once no gateway holds it
    taken_back     a content of this number that did worse here than what was before it, and serves no more
    """

    model: str
    version: int | None
    content: str = ""
    state: State = State.UNKNOWN
    reason: str = ""
    since: float = 0.0
    gone: bool = False
    stages: tuple[StageName, ...] = ()
    platform: str = ""
    config: bytes = b""
    seen: Seen | None = None
    labels: Mapping[str, Sequence[str]] = field(default_factory=lambda: NO_LABELS)
    load_seconds: float = 0.0
    resident: bool = False
    leaving: bool = False
    taken_back: str = ""

    @property
    def ready(self) -> bool:
        return self.state is State.READY


@dataclass(frozen=True, slots=True, kw_only=True)
class TierReport:
    """What a process has to say, first and whenever something has changed.

    instance     of the process, anew with each start
    stage        the one that it does; None for a server that does all of them
    whole        `versions` is everything; else what is new of those that it names
    saturation   demand over capacity, as in the gauge
    ready        whether it takes requests: false while it starts, and from when it is to leave
    leaving      this is its last word: another process may listen at its address already
    """

    instance: str
    stage: StageName | None
    whole: bool
    versions: tuple[VersionReport, ...] = ()
    saturation: float = 0.0
    ready: bool = False
    leaving: bool = False
