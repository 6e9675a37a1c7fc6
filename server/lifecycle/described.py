"""What only opening a version tells of it, and what clients then see. Pure.

Remembered with a verdict, it describes the version to clients before, and long after, it is in memory.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from runtimes.session import Description
from runtimes.tensors import DATATYPES, TensorSpec
from server.domain.configuration import ModelConfig, Platform
from server.domain.signature import Signature
from server.lifecycle.completion import complete
from server.lifecycle.padding import pad_rule, with_made_inputs
from server.scheduling.padding import PadRule

Contract = tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Described:
    """What was found in a version's files.

    pre, post   what its own code says that clients see; None where it has none, or says nothing
    staged      whether it has such code at all
    """

    platform: Platform
    file: Description
    pre: Contract | None = None
    post: Contract | None = None
    staged: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "platform": str(self.platform),
            "inputs": _listed(self.file.inputs),
            "outputs": _listed(self.file.outputs),
            "batches": self.file.batches,
            "steady": self.file.steady,
            "pre": None if self.pre is None else _listed(self.pre),
            "post": None if self.post is None else _listed(self.post),
            "staged": self.staged,
        }

    @classmethod
    def from_json(cls, values: object) -> Self | None:
        """None for what is no description: it comes from a disk, or out of a trial."""
        if not isinstance(values, Mapping):
            return None
        try:
            return cls(
                Platform(values["platform"]),
                Description(
                    _specs(values["inputs"]),
                    _specs(values["outputs"]),
                    values["batches"] is True,
                    values["steady"] is True,
                ),
                None if values["pre"] is None else _specs(values["pre"]),
                None if values["post"] is None else _specs(values["post"]),
                values["staged"] is True,
            )
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Interface:
    """A version from outside.

    config     with nothing left open
    padding    how its requests are padded, or None
    predicts   what the model itself takes and gives
    sees       what clients see: with code of its own, what that says
    """

    config: ModelConfig
    padding: PadRule | None
    predicts: Signature
    sees: Signature


def interface(config: ModelConfig, found: Described, version: int) -> Interface:
    """What follows from a configuration and the files together. Raises `ConfigContradicts`."""
    config = with_made_inputs(complete(config, found.file, found.platform))
    padding = pad_rule(config, version)
    predicts = signature_of(config)
    sees = predicts
    if found.staged:
        sees = Signature(
            config.name,
            found.pre if found.pre is not None else predicts.inputs,
            found.post if found.post is not None else predicts.outputs,
            predicts.max_batch_size,
            predicts.optional,
            predicts.most_rows,
        )
    return Interface(config, padding, predicts, sees)


def signature_of(config: ModelConfig) -> Signature:
    rows = config.max_batch_size or 0
    return Signature(
        config.name,
        [tensor.spec(rows > 0) for tensor in config.inputs],
        [tensor.spec(rows > 0) for tensor in config.outputs],
        rows,
        frozenset(tensor.name for tensor in config.inputs if tensor.optional),
        most_rows=rows * max(1, config.split_pieces),
    )


def _listed(specs: Iterable[TensorSpec]) -> list[list[Any]]:
    return [[spec.name, spec.datatype, list(spec.shape)] for spec in specs]


def _specs(values: object) -> Contract:
    if not isinstance(values, list):
        raise TypeError
    return tuple(_spec(*each) for each in values)


def _spec(name: object, datatype: object, shape: object) -> TensorSpec:
    if not (isinstance(name, str) and isinstance(datatype, str) and datatype in DATATYPES):
        raise TypeError
    if not (isinstance(shape, list) and all(type(size) is int for size in shape)):
        raise TypeError
    return TensorSpec(name, datatype, tuple(shape))
