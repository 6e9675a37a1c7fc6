"""What another server of the protocol says of its models, in the words that our tiers use of theirs.

Pure. Such a server has no content ids: one is made of what it says, so that two replicas with the same model
have the same, and a model that takes or gives something else than it did has another.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from protos import inference_pb2 as pb
from protos import model_config_pb2 as config_pb
from server.domain.state import State
from server.domain.tensors import DATATYPES, VARIABLE, TensorSpec
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
    """What a tier would say in its place, of a version that is this model and nothing else."""
    return _report(told, since, _seen(told), needs=("takes", "gives"))


def reports_before(
    told: ForeignVersion, since: float, others: Iterable[VersionReport]
) -> Sequence[VersionReport]:
    """The same for each version of ours that this one is to predict for, with the content that it has there.

    `others` are what our own tiers have. Nobody can tell whether the predictor was made for a version's code,
    but for its number; where the server knows no versions, it stands behind all of them. What it does not say
    of its tensors may stand in the version's own configuration.
    """
    behind = {
        (other.version, other.content): other
        for other in others
        if other.model == told.model
        and other.version is not None
        and told.version in (str(other.version), "")
        and "predict" in other.stages
        and other.stages != ("predict",)
        and not other.gone
    }
    reports = []
    for (version, content), other in sorted(behind.items()):
        needs = [what for what, code in (("takes", "pre"), ("gives", "post")) if code not in other.stages]
        own = _report(told, since, _seen_in(other.config) or _seen(told), needs)
        reports.append(replace(own, version=version, content=content, stages=other.stages))
    return reports


class Behind:
    """What one server is to our tiers, by and by: it remembers what has had code before or behind it.

    Such a version is never asked for without that code, also while the tiers that have it are away.
    """

    def __init__(self) -> None:
        self._with_code: set[tuple[str, int | None]] = set()

    def reports(
        self, has: Iterable[tuple[ForeignVersion, float]], others: Sequence[VersionReport] | None
    ) -> list[VersionReport]:
        """All that it has, each with the time since when; `others` are None while not all tiers have told."""
        reports: list[VersionReport] = []
        for told, since in has:
            before = reports_before(told, since, others or ())
            self._with_code |= {(each.model, each.version) for each in before}
            reports += before
            own = report_of(told, since)
            if others is not None and (own.model, own.version) not in self._with_code:
                reports.append(own)
        return reports


def apart(reports: Iterable[VersionReport]) -> list[dict[tuple[str, int | None], VersionReport]]:
    """The reports by model and version; more of these where a version is there with several contents."""
    layers: list[dict[tuple[str, int | None], VersionReport]] = [{}]
    for report in reports:
        key = (report.model, report.version)
        free = next((layer for layer in layers if key not in layer), None)
        if free is None:
            layers.append(free := {})
        free[key] = report
    return layers


def _report(told: ForeignVersion, since: float, seen: Seen, needs: Collection[str]) -> VersionReport:
    """`needs` are "takes" and "gives" where nobody but the model says what clients see."""
    problem = problem_of(told, seen, needs)
    return VersionReport(
        model=told.model,
        version=int(told.version) if told.version else ONLY_VERSION,
        content=content_of(told),
        state=State.UNAVAILABLE if problem else State.READY,
        reason=problem,
        since=since,
        stages=("predict",),
        platform=told.metadata.platform,
        config=b"" if problem else _config(told.model, seen).SerializeToString(deterministic=True),
        seen=None if problem else seen,
        resident=not problem,
    )


def problem_of(told: ForeignVersion, seen: Seen, needs: Collection[str]) -> str:
    """Why it cannot be the predict stage of a version; empty if it can."""
    if told.config is not None and told.config.model_transaction_policy.decoupled:
        return DECOUPLED
    missing = [what for what, specs in (("takes", seen.inputs), ("gives", seen.outputs)) if not specs]
    if lacking := [what for what in missing if what in needs]:
        return (
            f"its server does not say what it {' and '.join(lacking)}: "
            "write input and output in the config.pbtxt of a version with code of its own"
        )
    for spec in (*seen.inputs, *seen.outputs):
        if spec.datatype not in DATATYPES:
            return f"tensor '{spec.name}' has the datatype '{spec.datatype}', which is not known here"
        if seen.max_batch_size and not spec.shape:
            return f"tensor '{spec.name}' has no dimension for the batch"
    return ""


def _seen(told: ForeignVersion) -> Seen:
    return Seen(
        inputs=_specs(told.metadata.inputs),
        outputs=_specs(told.metadata.outputs),
        max_batch_size=told.max_batch_size,
        most_rows=told.max_batch_size,
        optional=_optional(told.config),
    )


def _seen_in(serialised: bytes) -> Seen | None:
    """What a version's own configuration says of the model's tensors; None if it does not."""
    config = config_pb.ModelConfig.FromString(serialised)
    if not (config.input and config.output):
        return None
    rows = config.max_batch_size
    inputs, outputs = (
        tuple(
            TensorSpec(tensor.name, _datatype(tensor.data_type), (*([VARIABLE] * bool(rows)), *tensor.dims))
            for tensor in tensors
        )
        for tensors in (config.input, config.output)
    )
    return Seen(
        inputs=inputs, outputs=outputs, max_batch_size=rows, most_rows=rows, optional=_optional(config)
    )


def content_of(told: ForeignVersion) -> str:
    said = told.metadata.SerializeToString(deterministic=True)
    if told.config is not None:
        said += told.config.SerializeToString(deterministic=True)
    return f"oip:{hashlib.sha256(said).hexdigest()}"


def _specs(tensors: Iterable[pb.ModelMetadataResponse.TensorMetadata]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in tensors)


def _optional(config: config_pb.ModelConfig | None) -> frozenset[str]:
    return frozenset(tensor.name for tensor in config.input if tensor.optional) if config else frozenset()


def _datatype(number: int) -> str:
    name = config_pb.DataType.Name(number).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def _config(model: str, seen: Seen) -> config_pb.ModelConfig:
    """No more of the other server's configuration than concerns whoever calls: the rest is its own affair."""
    config = config_pb.ModelConfig(name=model, backend="remote", max_batch_size=seen.max_batch_size)
    for field, specs in ((config.input, seen.inputs), (config.output, seen.outputs)):
        for spec in specs:
            dims = spec.shape[1:] if seen.max_batch_size else spec.shape
            field.add(name=spec.name, dims=dims, data_type=data_type(spec.datatype))
    for tensor in config.input:
        tensor.optional = tensor.name in seen.optional
    return config
