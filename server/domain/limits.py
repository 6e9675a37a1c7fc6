"""How much one request may hold: the operator's bounds on what no client means to send.

They are generous, and they cost a request nothing that stays inside: who reads one holds its size
against `harmless_bytes` first, and looks for what is over a limit only in a larger one.
"""

from dataclasses import dataclass, field

from server.domain.errors import InvalidRequest

MOST_DIMENSIONS = 64
"""Of a tensor, as of NumPy's arrays. Sizes are multiplied, so how many there may be is no option."""

MOST_HARMLESS_BYTES = 1000
"""A shape in so few bytes is multiplied in no time, however many sizes it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Each is an option; `OPTIONS` has its name.

    name_length      characters in the name of a model, a tensor or a parameter
    id_length        characters in a request's id
    string_length    characters in a parameter that is a string
    parameters       of a request, and of each of its tensors
    tensors          inputs of a request, and outputs that it asks for
    elements         of one tensor
    json_depth       lists and objects inside each other
    harmless_bytes   a request, or the part of it that is not tensors in bytes, that has no more of them
                     keeps within all limits but `elements`
    """

    name_length: int = 1024
    id_length: int = 1024
    string_length: int = 2**20
    parameters: int = 1024
    tensors: int = 4096
    elements: int = 2**31 - 1
    json_depth: int = 500
    harmless_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        at_least_a_byte_each = (
            *(self.name_length, self.id_length, self.string_length),
            *(self.parameters, self.tensors, 2 * self.json_depth),  # what is opened is closed, too
        )
        object.__setattr__(self, "harmless_bytes", min(*at_least_a_byte_each, MOST_HARMLESS_BYTES))


OPTIONS = {
    "name_length": "--max-name-length",
    "id_length": "--max-request-id-length",
    "string_length": "--max-string-parameter-length",
    "parameters": "--max-request-parameters",
    "tensors": "--max-request-tensors",
    "elements": "--max-tensor-elements",
    "json_depth": "--http-max-json-depth",
}
"""Who sets each, as the sentence of a refusal names it."""

LIMITS = Limits()
"""The defaults."""


def beyond(limits: Limits, which: str) -> str:
    """The end of a sentence that refuses what is over a limit."""
    return f"more than the {getattr(limits, which)} that {OPTIONS[which]} allows"


def check_name(name: str, whose: str, limits: Limits) -> None:
    """Raises `InvalidRequest` for a name that is too long; it is not repeated."""
    if len(name) > limits.name_length:
        raise InvalidRequest(
            f"the name of {whose} has {len(name)} characters, {beyond(limits, 'name_length')}"
        )
