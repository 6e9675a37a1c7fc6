"""An error on its way from one tier to another: the same class, with the same sentence, on either side."""

from collections.abc import Mapping

from protos import stage_pb2 as pb
from server.domain.errors import ServingError, TierFailed
from server.domain.stage import StageName
from server.wire.codes import CODES, sentence_of
from server.wire.stage_numbers import STAGE_NAMES, STAGE_NUMBERS

KINDS: Mapping[str, type[ServingError]] = {kind.__name__: kind for kind in CODES}


def fault_of(error: Exception, stage: StageName, number: int = 0, *, untouched: bool = False) -> pb.Fault:
    """What is told of an error; of one that is no `ServingError`, nothing internal.

    The stage is the one that it comes from, which another tier behind this one may have named already.
    """
    named = getattr(error, "stage", stage)
    return pb.Fault(
        id=number,
        kind=type(error).__name__ if isinstance(error, ServingError) else "",
        sentence=sentence_of(error),
        stage=STAGE_NUMBERS.get(named, STAGE_NUMBERS[stage]),
        untouched=untouched,
        retry_after_s=getattr(error, "retry_after_s", 0.0),
    )


def error_of(fault: pb.Fault) -> ServingError:
    """The error again, as it was raised. What the other side could not name is a fault of that tier."""
    kind = KINDS.get(fault.kind)
    stage = STAGE_NAMES.get(fault.stage, "predict")
    if kind is None:
        return TierFailed(stage, fault.sentence)
    error = kind.__new__(kind)  # its sentence is made already
    error.args = (fault.sentence,)
    error.__dict__.update(stage=stage, retry_after_s=fault.retry_after_s, untouched=fault.untouched)
    return error
