"""Whether the models of an ensemble fit together: names, datatypes, shapes, batches.

Pure: from the configuration and the signatures of its steps' models to the first thing that does not fit.
Where a size varies, the request shows. The sentences are Triton's.
"""

from collections.abc import Iterator, Sequence

from server.domain.configuration import ModelConfig
from server.domain.ensemble import Step
from server.domain.signature import Signature
from server.domain.tensors import VARIABLE, TensorSpec


def misfit(config: ModelConfig, members: Sequence[Signature]) -> str:
    """What does not fit, in a sentence; empty if all does. `members` are the steps' models' signatures."""
    assert config.ensemble is not None
    rows = config.max_batch_size or 0
    own = [tensor.spec(rows > 0) for tensor in (*config.inputs, *config.outputs)]
    known = {spec.name: _End(config.name, spec, rows > 0) for spec in own}
    where = f"in ensemble '{config.name}', "
    for step, member in zip(config.ensemble.steps, members, strict=True):
        if 0 < member.max_batch_size < rows:
            return (
                f"ensemble '{config.name}' allows maximum batch size {rows}, but it contains model "
                f"'{step.model}' which only allows maximum batch size to be {member.max_batch_size}"
            )
        strange = _strange(step, member)
        if strange:
            return where + strange
        for tensor, end in _ends(step, member):
            other = known.setdefault(tensor, end)
            disagreement = other.disagrees(end)
            if disagreement:
                return f"{where}ensemble tensor '{tensor}': {disagreement}"
    return ""


class _End:
    """One model's view of a tensor of the ensemble."""

    def __init__(self, model: str, spec: TensorSpec, batches: bool) -> None:
        self.model = model
        self.datatype = spec.datatype
        self.full = spec.shape
        self.dims = spec.shape[1:] if batches else spec.shape

    def disagrees(self, other: "_End") -> str:
        if self.datatype != other.datatype:
            what, mine, theirs = "data type", self.datatype, other.datatype
        elif not _alike(self.full, other.full) and not _alike(self.dims, other.dims):
            what, mine, theirs = "shape", str(list(self.full)), str(list(other.full))
        else:
            return ""
        return (
            f"inconsistent {what}: {mine} is inferred from model '{self.model}' "
            f"while {theirs} is inferred from model '{other.model}'"
        )


def _alike(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) == len(other) and all(
        VARIABLE in (a, b) or a == b for a, b in zip(one, other, strict=True)
    )


def _strange(step: Step, member: Signature) -> str:
    """What the maps say that the model does not know, or leave out that it needs."""
    inputs = {spec.name for spec in member.inputs}
    for name, tensor in step.inputs.items():
        if name not in inputs:
            strange = f"is mapping to non-existing input '{name}'"
            return f"ensemble tensor '{tensor}' {strange} in model '{step.model}'"
    for name, tensor in step.outputs.items():
        if name not in member.output_names:
            strange = f"is mapped from non-existing output '{name}'"
            return f"ensemble tensor '{tensor}' {strange} in model '{step.model}'"
    left_out = sorted(inputs - step.inputs.keys() - member.optional)
    if left_out:
        return f"input '{left_out[0]}' in model '{step.model}' is not mapped to any ensemble tensors"
    return ""


def _ends(step: Step, member: Signature) -> Iterator[tuple[str, _End]]:
    batches = member.max_batch_size > 0
    for specs, names in ((member.inputs, step.inputs), (member.outputs, step.outputs)):
        for spec in specs:
            if spec.name in names:
                yield names[spec.name], _End(step.model, spec, batches)
