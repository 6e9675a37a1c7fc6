"""The `parameters` by which an operator asks for padding, filled batches and split requests.

Pure: from texts to frozen values, or to the faults in them. What only the model file can tell, such as
whether it has the input that is named as mask, is held against it when a version is loaded.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from server.domain.padding import Padding, TensorDim

BUCKETS = "tercet.pad_buckets"
VALUE = "tercet.pad_value"
INPUTS = "tercet.pad_inputs"
OUTPUTS = "tercet.pad_outputs"
MASK = "tercet.pad_mask_input"
LENGTH = "tercet.pad_length_input"
ROWS = "tercet.pad_rows_to"
SPLIT = "tercet.split_requests"
PIECES = "tercet.split_max_pieces"

KEYS = (BUCKETS, VALUE, INPUTS, OUTPUTS, MASK, LENGTH, ROWS, SPLIT, PIECES)
OF_BUCKETS = (VALUE, INPUTS, OUTPUTS, MASK, LENGTH)
OURS = ("tercet.pad", "tercet.split")

PIECES_BY_DEFAULT = 64
MOST_PIECES = 1024

_DIM = re.compile(r"(?P<name>.+?)(?:\[(?P<dim>\d{1,2})\])?")


@dataclass(frozen=True, slots=True)
class BatchParameters:
    """Fields of a `ModelConfig`, by its names."""

    padding: Padding | None
    pad_rows_to: tuple[int, ...]
    split_pieces: int


def sentences(parameters: Mapping[str, str], places: int, max_batch_size: int | None) -> Iterator[str]:
    """What is wrong with each parameter, and only if nothing is, with what they ask for.

    places           requests that may wait; 0 for as many as the server allows
    max_batch_size   None where the model file will tell
    """
    found = [*_misread(parameters)]
    if found:
        yield from found
        return
    asked = read(parameters)
    if places and PIECES in parameters and asked.split_pieces > places:
        yield (
            f"has '{PIECES}' with {asked.split_pieces}, but max_queue_size is {places}: "
            "a request in more pieces than that could never be queued"
        )
    if max_batch_size is None:
        return
    for key, is_asked in ((ROWS, asked.pad_rows_to), (SPLIT, asked.split_pieces)):
        if is_asked and max_batch_size < 1:
            yield f"has '{key}', which needs max_batch_size above 0"
    if asked.pad_rows_to and asked.pad_rows_to[-1] > max_batch_size:
        yield f"has '{ROWS}' with {asked.pad_rows_to[-1]} rows, but max_batch_size is {max_batch_size}"


def read(parameters: Mapping[str, str]) -> BatchParameters:
    """The values of parameters in which `sentences` finds no fault."""
    padding = None
    if BUCKETS in parameters:
        padding = Padding(
            buckets=_ascending(parameters[BUCKETS]),
            value=parameters.get(VALUE, ""),
            inputs=_dims(parameters.get(INPUTS, "")),
            outputs=_dims(parameters[OUTPUTS]) if OUTPUTS in parameters else None,
            mask_input=parameters.get(MASK, ""),
            length_input=parameters.get(LENGTH, ""),
        )
    return BatchParameters(
        padding,
        _ascending(parameters[ROWS]) if ROWS in parameters else (),
        _pieces(parameters.get(PIECES, str(PIECES_BY_DEFAULT))) if parameters.get(SPLIT) == "true" else 0,
    )


def _misread(parameters: Mapping[str, str]) -> Iterator[str]:
    for key in parameters:
        if key.startswith(OURS) and key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            yield f"has '{key}', which is none of ours" + (f"; did you mean '{close[0]}'?" if close else "")
    for key, read_one in _READERS.items():
        if key in parameters:
            try:
                read_one(parameters[key])
            except ValueError as fault:
                yield f"has '{key}' with the value '{parameters[key]}', which {fault}"
    for key in OF_BUCKETS:
        if key in parameters and BUCKETS not in parameters:
            yield f"has '{key}', which needs '{BUCKETS}' beside it"
    if PIECES in parameters and parameters.get(SPLIT) != "true":
        yield f"has '{PIECES}', which needs '{SPLIT}' with the value 'true' beside it"
    if parameters.get(MASK) and parameters.get(MASK) == parameters.get(LENGTH):
        yield f"has '{parameters[MASK]}' as '{MASK}' and as '{LENGTH}', which are two inputs"


def _ascending(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) <= 10 and int(word) for word in words):
        raise ValueError("must be whole numbers above 0 with commas between them, such as 16,32,64")
    sizes = tuple(map(int, words))
    if any(one >= next_ for one, next_ in pairwise(sizes)):
        raise ValueError("must ascend, each number above the one before it")
    return sizes


def _dims(text: str) -> tuple[TensorDim, ...]:
    dims = []
    for word in text.split(",") if text.strip() else ():
        found = _DIM.fullmatch(word.strip())
        if found is None:
            raise ValueError("must be names of tensors with commas between them, such as ids,scores[1]")
        dims.append(TensorDim(found["name"], None if found["dim"] is None else int(found["dim"])))
    if len({*dims}) < len(dims):
        raise ValueError("names the same dimension twice")
    return tuple(dims)


def _input_dims(text: str) -> tuple[TensorDim, ...]:
    dims = _dims(text)
    if not dims:
        raise ValueError("must name an input; leave it out to pad all that have one variable dimension")
    if len({dim.name for dim in dims}) < len(dims):
        raise ValueError("names an input twice, but only one dimension of an input is padded")
    return dims


def _name(text: str) -> str:
    if not text:
        raise ValueError("must be the name of an input")
    return text


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _pieces(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 2 <= int(text) <= MOST_PIECES):
        raise ValueError(f"must be a whole number from 2 to {MOST_PIECES}")
    return int(text)


_READERS: Mapping[str, Callable[[str], object]] = {
    BUCKETS: _ascending,
    INPUTS: _input_dims,
    OUTPUTS: _dims,
    MASK: _name,
    LENGTH: _name,
    ROWS: _ascending,
    SPLIT: _flag,
    PIECES: _pieces,
}
