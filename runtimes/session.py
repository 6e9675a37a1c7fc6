"""One loaded model file, ready to run: what every runtime offers, and nothing more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from runtimes.device import CPU, Device
from runtimes.tensors import Array, Tensors, TensorSpec

NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model to open, and what is known of it besides its file.

    platform          as clients see it, such as "onnxruntime_onnx"; empty to go by the file's suffix
    inputs, outputs   as declared, full shapes; a file that describes itself does not need them
    samples           one good request, where the file and the declarations leave something open
    threads           that one run may keep busy on the CPU, its caller's included
    parameters        free strings of the configuration, by Triton's names
    prepared          what a runtime made of the file before (`runtimes.onnx_preparing`), opened in its place
    """

    path: Path
    platform: str = ""
    device: Device = CPU
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    samples: Tensors | None = None
    threads: int = 1
    parameters: Mapping[str, str] = field(default_factory=lambda: NO_PARAMETERS)
    prepared: Path | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """What a model file says of itself.

    inputs, outputs   full shapes, -1 where variable
    batches           whether every input and output has a variable first dimension
    steady            whether the time of a run hangs on shapes alone: no loop or branch in the file
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: bool
    steady: bool = False


class Session(Protocol):
    """A model on a device. The instances of a model on that device share it: `run` is called
    from several threads at once."""

    description: Description

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        """Run the model once and return the named outputs, on the host, in memory of their own.

        `inputs` has every required input of the description; arrays are C-contiguous, may be
        read-only, and are left as they are. Blocks; raises `RunFailed` with the runtime's own
        sentence, or `InputRefused` for a value that the runtime cannot hold. A failed run harms
        no other.
        """
        ...

    def close(self) -> None:
        """Give the memory back. No run is in progress, and none follows."""
        ...
