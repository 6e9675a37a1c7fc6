"""Golden examples: what a version must answer, as `examples/NAME.json` says.

    {"request": {"inputs": [...]}, "response": {"outputs": [...]}, "tolerance": 1e-4}

Request and response are those of the Open Inference Protocol, in JSON; here FP16 and BF16 may be
written as numbers too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.domain.errors import InvalidRequest
from server.domain.request import Parameters
from server.domain.tensors import Array
from server.wire import json_text, parameters
from server.wire.tensor_json import datatype_of, elements_of, name_of, parameters_of, shape_of
from server.wire.values import kind_of

DEFAULT_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class GoldenExample:
    """One request and its right answer.

    request     as it is written: the body of an infer request
    parameters  those of the request that go to the model
    tolerance   how far a number may be off, absolutely and relatively
    """

    name: str
    request: Mapping[str, Any]
    inputs: Mapping[str, Array]
    parameters: Parameters
    outputs: Mapping[str, Array]
    tolerance: float


def read(text: bytes, name: str) -> GoldenExample:
    """Read one file. Raises `InvalidRequest` with the example's name and what is wrong in it."""
    try:
        document = json_text.read(text, "the file")
        return GoldenExample(
            name,
            inputs=_tensors(document, "request", "input"),
            parameters=parameters.read(parameters_of(document["request"], "the request"), now=0.0)[2],
            outputs=_tensors(document, "response", "output"),
            tolerance=_tolerance(document),
            request=document["request"],
        )
    except InvalidRequest as error:
        raise InvalidRequest(f"golden example '{name}': {error}") from None


def _tensors(document: Any, side: str, kind: str) -> dict[str, Array]:
    half = document.get(side) if type(document) is dict else None
    listed = half.get(f"{kind}s") if type(half) is dict else None
    if type(listed) is not list or not listed:
        raise InvalidRequest(f"'{side}' must be an object with a list of '{kind}s'")
    tensors = {}
    for tensor in listed:
        name = name_of(tensor, kind, "the example")
        what = f"{kind} '{name}'"
        tensors[name] = elements_of(tensor, datatype_of(tensor, what), shape_of(tensor, what), what)
    return tensors


def _tolerance(document: dict[str, Any]) -> float:
    tolerance = document.get("tolerance", DEFAULT_TOLERANCE)
    if type(tolerance) not in (float, int) or not 0 <= tolerance < float("inf"):
        raise InvalidRequest(f"'tolerance' must be a number from 0 on, but is {kind_of(tolerance)}")
    return float(tolerance)
