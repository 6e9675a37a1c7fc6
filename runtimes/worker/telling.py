"""A model's file and its description as JSON, so that they cross from process to process as plain facts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtimes.device import Device
from runtimes.session import Description, ModelFile
from runtimes.tensors import Tensors, TensorSpec


def file_told(model: ModelFile) -> dict[str, Any]:
    """All but the samples, which are tensors."""
    return {
        "path": str(model.path.absolute()),
        "platform": str(model.platform),
        "device": [model.device.kind, model.device.index],
        "inputs": _told(model.inputs),
        "outputs": _told(model.outputs),
        "threads": model.threads,
        "parameters": dict(model.parameters),
        "prepared": None if model.prepared is None else str(model.prepared.absolute()),
    }


def file_of(told: dict[str, Any], samples: Tensors | None) -> ModelFile:
    return ModelFile(
        path=Path(told["path"]),
        platform=told["platform"],
        device=Device(*told["device"]),
        inputs=_specs(told["inputs"]),
        outputs=_specs(told["outputs"]),
        samples=samples,
        threads=told["threads"],
        parameters=told["parameters"],
        prepared=None if told["prepared"] is None else Path(told["prepared"]),
    )


def description_told(description: Description) -> dict[str, Any]:
    return {
        "inputs": _told(description.inputs),
        "outputs": _told(description.outputs),
        "batches": description.batches,
    }


def description_of(told: dict[str, Any]) -> Description:
    """Never steady: a run that another process answers is not for the event loop, however short."""
    return Description(_specs(told["inputs"]), _specs(told["outputs"]), told["batches"])


def _told(specs: Sequence[TensorSpec]) -> list[list[Any]]:
    return [[spec.name, spec.datatype, list(spec.shape)] for spec in specs]


def _specs(told: list[list[Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, datatype, tuple(shape)) for name, datatype, shape in told)
