"""What another server of the protocol says of its models, in the words that our tiers use of theirs.

Pure. Such a server has no content ids: one is made of what it says, so that two replicas with the same model
have the same, and a model that takes or gives something else than it did has another.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from protos import inference_pb2 as pb
from protos import model_config_pb2 as config_pb
from server.domain.state import State
from server.domain.tensors import DATATYPES, TensorSpec
from server.domain.tier import Seen, VersionReport
from server.stages.foreign.link import ONLY_VERSION
from server.wire.configuration import data_type

DECOUPLED = "it answers more than once, or not at all, and a tier answers once"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignVersion:
    """One version as the other server has it.

    version   as requests have to write it there; empty where it knows none
    config    None from a server that has no such call
    """

    model: str
    version: str
    metadata: pb.ModelMetadataResponse
    config: config_pb.ModelConfig | None = None

    @property
    def max_batch_size(self) -> int:
        return self.config.max_batch_size if self.config is not None else 0


def report_of(told: ForeignVersion, since: float) -> VersionReport:
    """What a tier would say in its place."""
    problem = problem_of(told)
    seen = Seen(
        inputs=_specs(told.metadata.inputs),
        outputs=_specs(told.metadata.outputs),
        max_batch_size=told.max_batch_size,
        most_rows=told.max_batch_size,
        optional=_optional(told.config),
    )
    return VersionReport(
        model=told.model,
        version=int(told.version) if told.version else ONLY_VERSION,
        content=content_of(told),
        state=State.UNAVAILABLE if problem else State.READY,
        reason=problem,
        since=since,
        stages=("predict",),
        platform=told.metadata.platform,
        config=_config(told, seen).SerializeToString(deterministic=True),
        seen=None if problem else seen,
        resident=not problem,
    )


def problem_of(told: ForeignVersion) -> str:
    """Why it cannot be the predict stage of a version; empty if it can."""
    if told.config is not None and told.config.model_transaction_policy.decoupled:
        return DECOUPLED
    if not (told.metadata.inputs and told.metadata.outputs):
        return "its server does not say what it takes and gives"
    for tensor in (*told.metadata.inputs, *told.metadata.outputs):
        if tensor.datatype not in DATATYPES:
            return f"tensor '{tensor.name}' has the datatype '{tensor.datatype}', which is not known here"
        if told.max_batch_size and not tensor.shape:
            return f"tensor '{tensor.name}' has no dimension for the batch"
    return ""


def content_of(told: ForeignVersion) -> str:
    said = told.metadata.SerializeToString(deterministic=True)
    if told.config is not None:
        said += told.config.SerializeToString(deterministic=True)
    return f"oip:{hashlib.sha256(said).hexdigest()}"


def reports_of(
    told: ForeignVersion, since: float, others: Iterable[VersionReport] = ()
) -> Sequence[VersionReport]:
    """What a tier would say in its place, and once more for each version of ours that it is to predict for.

    `others` are what our own tiers have. A version of theirs that has other stages than this one takes the
    content with it: nobody can tell whether the predictor was made for it, but for its number. Where the
    server knows no versions, it stands behind all of them.
    """
    own = report_of(told, since)
    behind = {
        (other.version, other.content): other.stages
        for other in others
        if other.model == told.model
        and other.version is not None
        and told.version in (str(other.version), "")
        and "predict" in other.stages
        and other.stages != ("predict",)
        and not other.gone
    }
    return (
        own,
        *(
            replace(own, version=version, content=content, stages=stages)
            for (version, content), stages in sorted(behind.items())
        ),
    )


def _specs(tensors: Iterable[pb.ModelMetadataResponse.TensorMetadata]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in tensors)


def _optional(config: config_pb.ModelConfig | None) -> frozenset[str]:
    return frozenset(tensor.name for tensor in config.input if tensor.optional) if config else frozenset()


def _config(told: ForeignVersion, seen: Seen) -> config_pb.ModelConfig:
    """No more of the other server's configuration than concerns whoever calls: the rest is its own affair."""
    config = config_pb.ModelConfig(name=told.model, backend="remote", max_batch_size=told.max_batch_size)
    for field, specs in ((config.input, seen.inputs), (config.output, seen.outputs)):
        for spec in specs:
            dims = spec.shape[1:] if told.max_batch_size else spec.shape
            field.add(name=spec.name, dims=dims, data_type=data_type(spec.datatype))
    for tensor in config.input:
        tensor.optional = tensor.name in seen.optional
    return config
