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

from server.domain.tensors import VARIABLE, TensorSpec

NOTHING: Mapping[str, Any] = MappingProxyType({})

MODEL_FILE = "tercet.model_file"
"""The parameter in which a configuration that shows clients' tensors keeps those of the model file itself."""


ENABLED = "tercet.enabled"
"""The parameter whose value "false" keeps a model out of this server, as if its folder were not there."""


class Platform(StrEnum):
    """What kind of model a folder holds, by the name that clients see in metadata."""

    ONNX = "onnxruntime_onnx"
    TORCHSCRIPT = "pytorch_libtorch"
    PYTHON = "python"
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
class InstanceGroup:
    """So many instances on each of these devices; no `gpus` means every GPU. Count 0 is the default."""

    kind: InstanceKind = InstanceKind.AUTO
    count: int = 0
    gpus: tuple[int, ...] = ()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicBatching:
    """Triton's `dynamic_batching`, as far as it is acted on."""

    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: int = 0
    preserve_ordering: bool = False
    default_queue_policy: QueuePolicy = QueuePolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything that is configured of one model, over all its versions.

    max_batch_size   rows in one run; 0 where the model has no batch dimension; None until it is
                     filled in from the model file (the operator did not say)
    inputs, outputs  empty until they are filled in
    dynamic_batching None where requests are to run alone
    parameters       free strings for the runtime
    declared         the whole configuration as JSON values, field for field as Triton names them
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
    metric_tags: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    parameters: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    declared: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    @property
    def is_enabled(self) -> bool:
        return self.parameters.get(ENABLED, "true").lower() == "true"
