"""Holds what an operator wants padded against what the model takes, once the model file is read.

Pure. Names in the sentences are those of the configuration's `parameters`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from runtimes.tensors import DATATYPES, VARIABLE
from server.domain.configuration import ModelConfig, TensorConfig
from server.domain.padding import Padding, TensorDim
from server.lifecycle.completion import ConfigContradicts
from server.scheduling.padding import MadeInput, PaddedInput, PadRule

WITHOUT_NUMBERS = frozenset({"BYTES"})


def with_made_inputs(config: ModelConfig) -> ModelConfig:
    """The configuration as clients may use it: they can leave out the inputs that the server makes.

    Raises `ConfigContradicts` for row counts that do not go with the batches that the model can have.
    """
    most = config.max_batch_size or 0
    if not most and (config.pad_rows_to or config.split_pieces):
        key = "tercet.pad_rows_to" if config.pad_rows_to else "tercet.split_requests"
        raise ConfigContradicts(f"{key} needs max_batch_size above 0")
    if config.pad_rows_to and config.pad_rows_to[-1] > most:
        raise ConfigContradicts(
            f"tercet.pad_rows_to has {config.pad_rows_to[-1]} rows, but max_batch_size is {most}"
        )
    made = config.padding.made_here if config.padding is not None else frozenset()
    inputs = [replace(each, optional=True) if each.name in made else each for each in config.inputs]
    return replace(config, inputs=tuple(inputs))


def pad_rule(config: ModelConfig, version: int) -> PadRule | None:
    """None for a model that pads no lengths; `config` has nothing left open.

    Raises `ConfigContradicts` for a tensor that the model does not have, or not as padding needs it.
    """
    padding = config.padding
    if padding is None:
        return None
    inputs = {tensor.name: tensor for tensor in config.inputs}
    outputs = {tensor.name: tensor for tensor in config.outputs}
    batch = 1 if config.max_batch_size else 0
    axes = {
        dim.name: _dim(_known(inputs, dim.name, "input", "tercet.pad_inputs"), dim, "tercet.pad_inputs")
        for dim in padding.inputs or _varying(config.inputs, padding)
    }
    both = sorted(axes.keys() & padding.made_here)
    if both:
        raise ConfigContradicts(
            f"input '{both[0]}' cannot be both in tercet.pad_inputs and the mask or the length"
        )
    padded = {
        name: PaddedInput(batch + dim, _fill(padding.value, inputs[name])) for name, dim in axes.items()
    }
    mask = length = None
    if padding.mask_input:
        mask = _mask(_known(inputs, padding.mask_input, "input", "tercet.pad_mask_input"))
        padded[mask.name] = PaddedInput(batch + mask.dims.index(VARIABLE), mask.dtype.type(0))
    if padding.length_input:
        length = _length(_known(inputs, padding.length_input, "input", "tercet.pad_length_input"))
    return PadRule(
        model=config.name,
        version=version,
        batches=batch > 0,
        buckets=padding.buckets,
        inputs=padded,
        mask=mask,
        length=length,
        outputs={
            name: tuple(batch + dim for dim in dims)
            for name, dims in _cut(padding, outputs, {*axes.values()}).items()
        },
        certain=padding.outputs is not None,
    )


def _varying(inputs: Iterable[TensorConfig], padding: Padding) -> list[TensorDim]:
    """All inputs with a variable dimension but those that tell of the padding."""
    found = [each for each in inputs if VARIABLE in each.dims and each.name not in padding.made_here]
    if not found:
        raise ConfigContradicts(
            "tercet.pad_buckets is for inputs with a variable dimension, and there is none"
        )
    return [TensorDim(each.name) for each in found]


def _known(tensors: Mapping[str, TensorConfig], name: str, kind: str, key: str) -> TensorConfig:
    if name not in tensors:
        raise ConfigContradicts(
            f"{key} names the {kind} '{name}', but the model has {', '.join(map(repr, tensors))}"
        )
    return tensors[name]


def _dim(tensor: TensorConfig, wanted: TensorDim, key: str) -> int:
    """The place in `dims` of the one that is meant."""
    varying = [at for at, size in enumerate(tensor.dims) if size == VARIABLE]
    if wanted.dim is None:
        if len(varying) == 1:
            return varying[0]
        example = f"{tensor.name}[{varying[0] if varying else 0}]"
        raise ConfigContradicts(
            f"'{tensor.name}' has dims {list(tensor.dims)}, of which {len(varying)} vary, and one is to be "
            f"padded; say which in {key}, such as {example}"
            if varying
            else f"{key} names '{tensor.name}', whose dims {list(tensor.dims)} do not vary"
        )
    if wanted.dim not in varying:
        raise ConfigContradicts(
            f"{key} names {wanted}, which is not among the dims of '{tensor.name}' that vary: "
            f"they are {list(tensor.dims)}"
        )
    return wanted.dim


def _fill(value: str, tensor: TensorConfig) -> object:
    """The value that is put in, of the tensor's own type."""
    if tensor.datatype == "BYTES":
        return value.encode()
    dtype = DATATYPES[tensor.datatype].dtype
    try:
        number = float(value or "0")
        fill = dtype.type(number if dtype.kind not in "iub" else int(number))
        if dtype.kind in "iub" and fill != number:
            raise ValueError
    except (ValueError, OverflowError):
        raise ConfigContradicts(
            f"tercet.pad_value is '{value}', which is no {tensor.datatype}, as input '{tensor.name}' is"
        ) from None
    return fill


def _mask(tensor: TensorConfig) -> MadeInput:
    if tensor.datatype in WITHOUT_NUMBERS or tensor.dims.count(VARIABLE) != 1:
        raise ConfigContradicts(
            f"tercet.pad_mask_input names '{tensor.name}', which is {tensor.datatype} with dims "
            f"{list(tensor.dims)}, but a mask is of numbers or BOOL and has one variable dimension"
        )
    return MadeInput(tensor.name, np.dtype(DATATYPES[tensor.datatype].dtype), tensor.dims)


def _length(tensor: TensorConfig) -> MadeInput:
    if tensor.datatype in WITHOUT_NUMBERS | {"BOOL"} or VARIABLE in tensor.dims:
        raise ConfigContradicts(
            f"tercet.pad_length_input names '{tensor.name}', which is {tensor.datatype} with dims "
            f"{list(tensor.dims)}, but a length is a number and has no variable dimension"
        )
    return MadeInput(tensor.name, np.dtype(DATATYPES[tensor.datatype].dtype), tensor.dims)


def _cut(
    padding: Padding, outputs: Mapping[str, TensorConfig], padded: set[int]
) -> dict[str, tuple[int, ...]]:
    """Output name -> the places in `dims` that are as long as the inputs."""
    if padding.outputs is None:
        alike = {
            name: tuple(at for at, size in enumerate(tensor.dims) if size == VARIABLE and at in padded)
            for name, tensor in outputs.items()
        }
        return {name: dims for name, dims in alike.items() if dims}
    cut: dict[str, tuple[int, ...]] = {}
    for wanted in padding.outputs:
        tensor = _known(outputs, wanted.name, "output", "tercet.pad_outputs")
        cut[wanted.name] = (*cut.get(wanted.name, ()), _dim(tensor, wanted, "tercet.pad_outputs"))
    return cut
