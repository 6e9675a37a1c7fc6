"""Fills in what a model's configuration leaves open, from what the model file says of itself.

Pure. The rules are Triton's auto-complete: a model whose inputs and outputs all have a variable
first dimension batches, up to 4 rows unless told otherwise, and then has the dynamic batcher on
unless a scheduler is given. Declared tensors are held against those of the file.
"""

from collections.abc import Sequence
from dataclasses import replace

from runtimes.session import Description
from runtimes.tensors import VARIABLE, TensorSpec
from server.domain.configuration import DynamicBatching, InstanceGroup, ModelConfig, Platform, TensorConfig

DEFAULT_MAX_BATCH_SIZE = 4
BACKENDS = {Platform.ONNX: "onnxruntime", Platform.TORCHSCRIPT: "pytorch", Platform.SLEEPING: "sleeping"}


class ConfigContradicts(Exception):
    """The configuration says one thing and the model file another."""


def complete(config: ModelConfig, description: Description, platform: Platform) -> ModelConfig:
    """The configuration with nothing left open.

    Raises `ConfigContradicts`, naming the tensor, what is configured and what the file has.
    """
    rows = config.max_batch_size
    if rows is None:
        rows = DEFAULT_MAX_BATCH_SIZE if description.batches else 0
    elif rows > 0 and not description.batches:
        raise ConfigContradicts(
            f"max_batch_size is {rows}, but not every input and output of the model has a variable first "
            "dimension; export it with one, or set max_batch_size to 0"
        )
    dynamic = config.dynamic_batching
    if dynamic is None and config.max_batch_size is None and rows > 1:
        dynamic = DynamicBatching()
    return replace(
        config,
        platform=platform,
        backend=config.backend or BACKENDS.get(platform, ""),
        max_batch_size=rows,
        inputs=_tensors("input", config.inputs, description.inputs, rows > 0),
        outputs=_tensors("output", config.outputs, description.outputs, rows > 0),
        instance_groups=config.instance_groups or (InstanceGroup(),),
        dynamic_batching=dynamic,
    )


def _tensors(
    what: str, declared: Sequence[TensorConfig], found: Sequence[TensorSpec], batches: bool
) -> tuple[TensorConfig, ...]:
    """What is declared, in its order, and after it what only the file names."""
    by_name = {spec.name: spec for spec in found}
    for tensor in declared:
        spec = by_name.get(tensor.name)
        if spec is None:
            raise ConfigContradicts(
                f"{what} '{tensor.name}' is configured, but the model has {', '.join(map(repr, by_name))}"
            )
        if spec.datatype != tensor.datatype:
            raise ConfigContradicts(
                f"{what} '{tensor.name}' is configured as {tensor.datatype}, "
                f"but the model has {spec.datatype}"
            )
        wanted = tensor.dims if tensor.reshape is None else tensor.reshape
        full = (VARIABLE, *wanted) if batches else wanted
        if len(full) != len(spec.shape) or any(
            VARIABLE not in (a, b) and a != b for a, b in zip(full, spec.shape, strict=True)
        ):
            raise ConfigContradicts(
                f"{what} '{tensor.name}' is configured with shape {list(full)}, "
                f"but the model has {list(spec.shape)}"
            )
    known = {tensor.name for tensor in declared}
    return (*declared, *(_as_found(spec, batches) for spec in found if spec.name not in known))


def _as_found(spec: TensorSpec, batches: bool) -> TensorConfig:
    """A tensor as the file has it. One value a row is shown to clients as a row of one, as Triton does."""
    if not batches:
        return TensorConfig(name=spec.name, datatype=spec.datatype, dims=spec.shape)
    if spec.shape[1:] == ():
        return TensorConfig(name=spec.name, datatype=spec.datatype, dims=(1,), reshape=())
    return TensorConfig(name=spec.name, datatype=spec.datatype, dims=spec.shape[1:])
