"""What a tier tells of itself, as messages and back.

Tiers of two releases talk during a rollout, so what a later one says is read as far as it is understood: a
state that is not known here is none that a request could rely on, and a version with a stage that is not
known here is one that nobody here could answer.
"""

from collections.abc import Iterable

from protos import stage_pb2 as pb
from server.domain.stage import StageName
from server.domain.state import State
from server.domain.tensors import TensorSpec
from server.domain.tier import Seen, TierReport, VersionReport
from server.wire.stage_numbers import STAGE_NAMES, STAGE_NUMBERS

UNKNOWN_STAGE = "it has a stage that this release does not know: bring the gateway up to date"


def report_message(report: TierReport) -> pb.Report:
    return pb.Report(
        instance=report.instance,
        stage=STAGE_NUMBERS[report.stage] if report.stage is not None else pb.STAGE_UNSPECIFIED,
        whole=report.whole,
        versions=[_version_message(each) for each in report.versions],
        saturation=report.saturation,
        ready=report.ready,
        leaving=report.leaving,
    )


def report_of(message: pb.Report) -> TierReport:
    return TierReport(
        instance=message.instance,
        stage=STAGE_NAMES.get(message.stage),
        whole=message.whole,
        versions=tuple(_version_of(each) for each in message.versions),
        saturation=message.saturation,
        ready=message.ready,
        leaving=message.leaving,
    )


def stage_numbers(stages: Iterable[StageName]) -> list[pb.StageName]:
    return [STAGE_NUMBERS[stage] for stage in stages]


def _version_message(report: VersionReport) -> pb.VersionReport:
    message = pb.VersionReport(
        model=report.model,
        version=report.version or 0,  # no folder of a version has this number
        content=report.content,
        state=report.state.value,
        reason=report.reason,
        since=report.since,
        gone=report.gone,
        stages=stage_numbers(report.stages),
        platform=report.platform,
        config=report.config,
        labels=[pb.Labels(output=output, names=names) for output, names in report.labels.items()],
        load_seconds=report.load_seconds,
        resident=report.resident,
        leaving=report.leaving,
        taken_back=report.taken_back,
    )
    if report.seen is not None:
        message.seen.CopyFrom(_seen_message(report.seen))
    return message


def _version_of(message: pb.VersionReport) -> VersionReport:
    state, reason = _state_of(message.state), message.reason
    known = [STAGE_NAMES[number] for number in message.stages if number in STAGE_NAMES]
    if len(known) < len(message.stages) and not message.gone:
        state, reason = State.UNAVAILABLE, UNKNOWN_STAGE
    return VersionReport(
        model=message.model,
        version=message.version or None,
        content=message.content,
        state=state,
        reason=reason,
        since=message.since,
        gone=message.gone,
        stages=tuple(known),
        platform=message.platform,
        config=message.config,
        seen=_seen_of(message.seen) if message.HasField("seen") else None,
        labels={each.output: tuple(each.names) for each in message.labels},
        load_seconds=message.load_seconds,
        resident=message.resident,
        leaving=message.leaving,
        taken_back=message.taken_back,
    )


def _state_of(written: str) -> State:
    try:
        return State(written)
    except ValueError:
        return State.UNKNOWN


def _seen_message(seen: Seen) -> pb.Seen:
    return pb.Seen(
        inputs=[_spec_message(spec) for spec in seen.inputs],
        outputs=[_spec_message(spec) for spec in seen.outputs],
        max_batch_size=seen.max_batch_size,
        most_rows=seen.most_rows,
        optional=sorted(seen.optional),
        declared=seen.declared,
    )


def _seen_of(message: pb.Seen) -> Seen:
    return Seen(
        inputs=tuple(_spec_of(each) for each in message.inputs),
        outputs=tuple(_spec_of(each) for each in message.outputs),
        max_batch_size=message.max_batch_size,
        most_rows=message.most_rows,
        optional=frozenset(message.optional),
        declared=message.declared,
    )


def _spec_message(spec: TensorSpec) -> pb.Spec:
    return pb.Spec(name=spec.name, datatype=spec.datatype, shape=spec.shape)


def _spec_of(message: pb.Spec) -> TensorSpec:
    return TensorSpec(message.name, message.datatype, tuple(message.shape))
