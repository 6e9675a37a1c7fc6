"""What an ensemble's configuration must not say of its steps.

Pure, like `server.repository.rules`, and for Triton's reasons: the tensors must flow from the ensemble's
inputs through every step to its outputs. Whether the models of the steps agree is seen when they are loaded.
"""

from collections.abc import Iterator, Mapping

from protos import model_config_pb2 as pb
from server.repository.fault import Fault

_STEP = "ensemble_scheduling.step"


def faults_of_steps(config: pb.ModelConfig, model: str) -> Iterator[Fault]:
    """Everything wrong with the steps of an ensemble whose folder is named `model`."""
    for kind, tensors in (("input", config.input), ("output", config.output)):
        if not tensors:
            yield Fault(kind, f"is missing: an ensemble has no file that could tell its {kind}s")
    for kind, tensors in (("input", config.input), ("output", config.output)):
        for at, tensor in enumerate(tensors):
            if tensor.HasField("reshape"):
                yield Fault(
                    f"{kind}[{at}].reshape", "is not for an ensemble: reshape in the model that needs it"
                )
    for field in ("instance_group", "model_warmup", "optimization"):
        if any(field == written.name for written, _ in config.ListFields()):
            yield Fault(field, "is not for an ensemble: write it for the models of its steps")
    if not config.ensemble_scheduling.step:
        yield Fault(_STEP, "is missing: an ensemble has at least one")
        return
    incomplete = list(_incomplete(config, model))
    yield from incomplete
    if not incomplete:
        yield from _flow(config)


def _incomplete(config: pb.ModelConfig, model: str) -> Iterator[Fault]:
    for at, step in enumerate(config.ensemble_scheduling.step):
        path = f"{_STEP}[{at}]"
        if not step.model_name:
            yield Fault(f"{path}.model_name", "is missing")
        elif step.model_name == model:
            yield Fault(f"{path}.model_name", f"is '{model}', the ensemble itself")
        if step.model_version < -1:
            yield Fault(
                f"{path}.model_version", f"is {step.model_version}, must be 1 or more, or -1 for the latest"
            )
        for name, tensors in (("input_map", step.input_map), ("output_map", step.output_map)):
            if not tensors:
                yield Fault(f"{path}.{name}", "is missing; map at least one tensor")
            for key, value in tensors.items():
                if not (key and value):
                    yield Fault(f"{path}.{name}", f"maps '{key}' to '{value}'; both must have a name")


def _flow(config: pb.ModelConfig) -> Iterator[Fault]:
    """Each tensor comes from one place and goes somewhere, and nothing waits for itself."""
    steps = config.ensemble_scheduling.step
    inputs = {tensor.name for tensor in config.input}
    source: dict[str, int] = {}
    for at, step in enumerate(steps):
        for tensor in step.output_map.values():
            if tensor in inputs:
                yield Fault(f"{_STEP}[{at}].output_map", f"gives '{tensor}', which is the ensemble's input")
            elif tensor in source:
                yield Fault(
                    f"{_STEP}[{at}].output_map",
                    f"gives '{tensor}', which step {source[tensor]} gives already; only one may",
                )
            source.setdefault(tensor, at)
    for at, step in enumerate(steps):
        for tensor in step.input_map.values():
            if tensor not in inputs and tensor not in source:
                yield Fault(
                    f"{_STEP}[{at}].input_map",
                    f"takes '{tensor}', which is no input of the ensemble and comes from no step",
                )
    yield from _unused(config, source)
    stuck = _stuck(config, source)
    if stuck:
        which = ", ".join(str(at) for at in stuck)
        yield Fault(
            f"{_STEP}[{stuck[0]}]", f"can never begin, as its inputs need its outputs: see steps {which}"
        )


def _unused(config: pb.ModelConfig, source: Mapping[str, int]) -> Iterator[Fault]:
    """What the ensemble takes or gives without a step that knows of it, and what only one step knows of."""
    steps = config.ensemble_scheduling.step
    read = {tensor for step in steps for tensor in step.input_map.values()}
    for at, declared in enumerate(config.input):
        if declared.name not in read:
            yield Fault(f"input[{at}]", f"is '{declared.name}', which no step takes")
    for at, wanted in enumerate(config.output):
        if wanted.name not in source:
            yield Fault(f"output[{at}]", f"is '{wanted.name}', which no step gives")
    outputs = {tensor.name for tensor in config.output}
    for tensor, at in source.items():
        if tensor not in read and tensor not in outputs:
            yield Fault(f"{_STEP}[{at}].output_map", f"gives '{tensor}', which nothing takes; leave it out")


def _stuck(config: pb.ModelConfig, source: Mapping[str, int]) -> list[int]:
    """The steps that wait, in the end, for themselves."""
    waiting = dict(enumerate(config.ensemble_scheduling.step))
    while True:
        ready = [
            at
            for at, step in waiting.items()
            if not any(source.get(tensor) in waiting for tensor in step.input_map.values())
        ]
        if not ready:
            return list(waiting)
        for at in ready:
            del waiting[at]
