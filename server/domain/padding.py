"""How requests of different lengths are made one shape, as the operator asks for it in a configuration."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorDim:
    """One dimension of a tensor: `dim` counts from 0 in its `dims`; None is the only one that varies."""

    name: str
    dim: int | None = None

    def __str__(self) -> str:
        return self.name if self.dim is None else f"{self.name}[{self.dim}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """Which tensors are padded, to which lengths, and how the model is told what is real.

    buckets        lengths, ascending; a request goes by the smallest that holds it
    value          what is put in behind the real elements, as it was written; empty for 0, or b"" in BYTES
    inputs         those that are padded; empty for all with one variable dimension
    outputs        those that are cut back, and no others; None for all that vary where the inputs do
    mask_input     gets 1 where an element is real, else 0; empty for none
    length_input   gets how many are real; empty for none
    """

    buckets: tuple[int, ...]
    value: str = ""
    inputs: tuple[TensorDim, ...] = ()
    outputs: tuple[TensorDim, ...] | None = None
    mask_input: str = ""
    length_input: str = ""

    @property
    def made_here(self) -> frozenset[str]:
        """The inputs that the server makes where a request leaves them out."""
        return frozenset({self.mask_input, self.length_input} - {""})
