"""A model's configuration: what Triton's `config.pbtxt` says, as frozen values.

`server.repository` reads it from text or JSON; `server.lifecycle` fills in what the model file
itself says. Names, meanings and defaults are those of Triton's `ModelConfig`; units are in the names.
Fields that nothing acts on yet are kept in `declared`, so that a client that asks for the
configuration sees every field that the operator wrote.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from server.domain.ensemble import Ensemble
from server.domain.padding import Padding
from server.domain.scheduling import UNSAID, Scheduling
from server.domain.tensors import VARIABLE, TensorSpec
from server.domain.warmup import Warmup

NOTHING: Mapping[str, Any] = MappingProxyType({})

MODEL_FILE = "tercet.model_file"
"""The parameter in which a configuration that shows clients' tensors keeps those of the model file itself."""


ENABLED = "tercet.enabled"
"""The parameter whose value "false" keeps a model out of this server, as if its folder were not there."""

PINNED = "tercet.pinned"
"""The parameter whose value "true" keeps a model in memory, whatever else would need the room."""


class SwapPolicy(StrEnum):
    """What becomes of the version that serves while its successor is loaded.

    AUTO           it serves on where there can be memory for both, else its memory is freed first
    KEEP_SERVING   it serves on; where there cannot be memory for both, the successor is refused
    FREE_FIRST     its memory is freed first; requests wait until the successor is loaded
    """

    AUTO = "auto"
    KEEP_SERVING = "keep-serving"
    FREE_FIRST = "free-first"


SWAP_POLICY = "swap_policy"
"""The parameter by which a model says which of these is its own."""

ROLLBACK = "tercet.rollback"
"""The parameter that says whether a new version of the model may be taken back: "true" or "false"."""


class Platform(StrEnum):
    """What kind of model a folder holds, by the name that clients see in metadata."""

    ONNX = "onnxruntime_onnx"
    TORCHSCRIPT = "pytorch_libtorch"
    PYTHON = "python"
    SLEEPING = "sleeping"
    REMOTE = "remote"
    ENSEMBLE = "ensemble"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorConfig:
    """One declared input or output. `dims` leaves the batch dimension out where the model batches.

    datatype         of the protocol, such as FP32
    reshape          the shape that the model itself wants, or None where it is `dims`
    optional         an input that a request may leave out
    label_filename   of an output: the file of class names, one a line; empty for none
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    reshape: tuple[int, ...] | None = None
    optional: bool = False
    label_filename: str = ""

    def spec(self, batches: bool) -> TensorSpec:
        """The full shape, the batch dimension first if the model batches."""
        return TensorSpec(self.name, self.datatype, (VARIABLE, *self.dims) if batches else self.dims)


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which of the version folders are served: the latest n, all, or those named."""

    latest: int | None = 1
    specific: frozenset[int] | None = None

    def choose(self, versions: frozenset[int]) -> frozenset[int]:
        """The versions to serve of those on disk. A named one that is not on disk is left out."""
        if self.specific is not None:
            return versions & self.specific
        if self.latest is not None:
            return frozenset(sorted(versions, reverse=True)[: self.latest])
        return versions


ALL_VERSIONS = VersionPolicy(latest=None)


class InstanceKind(StrEnum):
    """Where instances run: AUTO is on each GPU where there are any, else on the CPU."""

    AUTO = "KIND_AUTO"
    GPU = "KIND_GPU"
    CPU = "KIND_CPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """So many of something that each run holds: of what its device has, or of what all devices share."""

    name: str
    count: int
    is_global: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceGroup:
    """So many instances on each of these devices; no `gpus` means every GPU. Count 0 is the default.

    resources               what each run of an instance needs, where the rate limiter is on
    rate_limiter_priority   2 gets half as many turns as 1; 0 counts as 1
    """

    kind: InstanceKind = InstanceKind.AUTO
    count: int = 0
    gpus: tuple[int, ...] = ()
    resources: tuple[Resource, ...] = ()
    rate_limiter_priority: int = 0


class TimeoutAction(StrEnum):
    REJECT = "REJECT"
    DELAY = "DELAY"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """How requests wait: `max_queue_size` 0 means as many as the server allows."""

    timeout_action: TimeoutAction = TimeoutAction.REJECT
    default_timeout_microseconds: int = 0
    allow_timeout_override: bool = False
    max_queue_size: int = 0


NO_POLICIES: Mapping[int, QueuePolicy] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicBatching:
    """Triton's `dynamic_batching`.

    priority_levels         1 is the first to go; 0 where all requests are alike
    default_priority_level  of requests that name no level; 0 where there are none
    priority_queue_policy   level -> how its requests wait; the default policy for those that are not here
    """

    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    default_queue_policy: QueuePolicy = QueuePolicy()
    priority_queue_policy: Mapping[int, QueuePolicy] = field(default_factory=lambda: NO_POLICIES)


def level_of(batching: DynamicBatching | None, priority: int) -> int:
    """The level in which a request of this priority waits: 0 where there are no levels.

    A level that the model does not have means the default one, as in Triton.
    """
    if batching is None or not batching.priority_levels:
        return 0
    return priority if 1 <= priority <= batching.priority_levels else batching.default_priority_level


def policy_of(batching: DynamicBatching | None, level: int) -> QueuePolicy:
    """How the requests of a level wait; `level` is what `level_of` says, or what a request asks for.

    Without `dynamic_batching` there is no policy but the server's own: nothing expires, and the queue is as
    long as the server allows.
    """
    if batching is None:
        return QueuePolicy()
    if not batching.priority_levels:
        return batching.default_queue_policy
    return batching.priority_queue_policy.get(level_of(batching, level), batching.default_queue_policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaGraphs:
    """Triton's `optimization.cuda`, as far as it is acted on.

    rows   those of each `graph_spec`, ascending; empty where the server is to choose
    """

    rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything that is configured of one model, over all its versions.

    max_batch_size   rows in one run; 0 where the model has no batch dimension; None until it is
                     filled in from the model file (the operator did not say)
    inputs, outputs  empty until they are filled in
    dynamic_batching None where requests are to run alone
    warmups          what is run before a version is ready
    scheduling       a latency target and a weight, both ours
    hedge_after_ms   a request unanswered for so long may run a second time elsewhere; None: it never may
    ensemble         the steps of a model that is made of models; None for one that runs by itself
    parameters       free strings for the runtime
    padding          how requests of different lengths share a run; None where they do not
    pad_rows_to      row counts, ascending: a run of fewer rows is filled up to the next; empty for none
    cuda_graphs      what is recorded where the model runs on a CUDA device; None for nothing
    split_pieces     into how many pieces, at most, a request above max_batch_size is cut; 0 refuses it
    declared         the whole configuration as its writer gave it: a serialised inference.ModelConfig
    """

    name: str
    platform: Platform | None = None
    backend: str = ""
    max_batch_size: int | None = None
    inputs: tuple[TensorConfig, ...] = ()
    outputs: tuple[TensorConfig, ...] = ()
    version_policy: VersionPolicy = VersionPolicy()
    instance_groups: tuple[InstanceGroup, ...] = ()
    default_model_filename: str = ""
    dynamic_batching: DynamicBatching | None = None
    warmups: tuple[Warmup, ...] = ()
    scheduling: Scheduling = UNSAID
    hedge_after_ms: float | None = None
    ensemble: Ensemble | None = None
    metric_tags: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    parameters: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    padding: Padding | None = None
    pad_rows_to: tuple[int, ...] = ()
    split_pieces: int = 0
    cuda_graphs: CudaGraphs | None = None
    declared: bytes = b""

    @property
    def label_files(self) -> frozenset[str]:
        """The files of class names, beside the versions."""
        return frozenset(output.label_filename for output in self.outputs) - {""}

    @property
    def is_enabled(self) -> bool:
        return self.parameters.get(ENABLED, "true").lower() == "true"

    @property
    def is_pinned(self) -> bool:
        return self.parameters.get(PINNED, "false").lower() == "true"
