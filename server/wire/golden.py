"""Golden examples: what a version must answer, as `examples/NAME.json` says.

    {"request": {"inputs": [...]}, "response": {"outputs": [...]}, "tolerance": 1e-4}

Request and response are those of the Open Inference Protocol, in JSON; here FP16 and BF16 may be
written as numbers too. `tolerance` may also be an object, output name -> its tolerance; an output that
it leaves out has the default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from server.domain.errors import InvalidRequest
from server.domain.request import Parameters
from server.domain.tensors import Array, Tensors
from server.domain.tensors import datatype_of as datatype_of_array
from server.wire import json_text, parameters
from server.wire.tensor_json import datatype_of, elements_of, name_of, parameters_of, shape_of
from server.wire.values import kind_of

DEFAULT_TOLERANCE = 1e-4
LARGE = 10_000
"""Elements: an example with more of them is nothing to read."""


@dataclass(frozen=True, slots=True)
class GoldenExample:
    """One request and its right answer.

    request     as it is written: the body of an infer request
    parameters  those of the request that go to the model
    tolerance   how far a number may be off, absolutely and relatively
    tolerances  the same for single outputs, where the file tells them apart
    """

    name: str
    request: Mapping[str, Any]
    inputs: Mapping[str, Array]
    parameters: Parameters
    outputs: Mapping[str, Array]
    tolerance: float
    tolerances: Mapping[str, float] = field(default_factory=dict)

    def tolerance_of(self, output: str) -> float:
        return self.tolerances.get(output, self.tolerance)


def example_of(inputs: Tensors, outputs: Tensors) -> dict[str, Any] | None:
    """The document of an example, from a request and its answer; None where it would be large."""
    if sum(array.size for array in (*inputs.values(), *outputs.values())) > LARGE:
        return None
    return {
        "request": {"inputs": [_written(name, array) for name, array in inputs.items()]},
        "response": {"outputs": [_written(name, array) for name, array in outputs.items()]},
        "tolerance": DEFAULT_TOLERANCE,
    }


def _written(name: str, array: Array) -> dict[str, Any]:
    datatype = datatype_of_array(array)
    flat = array.astype(np.float32).ravel() if datatype == "BF16" else array.ravel()
    data = [each.decode(errors="replace") if isinstance(each, bytes) else each for each in flat.tolist()]
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}


def read(text: bytes, name: str) -> GoldenExample:
    """Read one file. Raises `InvalidRequest` with the example's name and what is wrong in it."""
    try:
        document = json_text.read(text, "the file")
        inputs = _tensors(document, "request", "input")
        outputs = _tensors(document, "response", "output")
        tolerance, tolerances = _tolerances(document, outputs)
        return GoldenExample(
            name,
            inputs=inputs,
            parameters=parameters.read(parameters_of(document["request"], "the request"), now=0.0)[2],
            outputs=outputs,
            tolerance=tolerance,
            tolerances=tolerances,
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


def _tolerances(document: dict[str, Any], outputs: Mapping[str, Array]) -> tuple[float, dict[str, float]]:
    """The tolerance for all outputs, and those of single ones."""
    told = document.get("tolerance", DEFAULT_TOLERANCE)
    if type(told) is not dict:
        return _tolerance(told, "'tolerance'"), {}
    for name in told:
        if name not in outputs:
            raise InvalidRequest(f"'tolerance' names the output '{name}', which the response has not")
    return DEFAULT_TOLERANCE, {
        name: _tolerance(each, f"'tolerance' of '{name}'") for name, each in told.items()
    }


def _tolerance(value: Any, what: str) -> float:
    if type(value) not in (float, int) or not 0 <= value < float("inf"):
        raise InvalidRequest(f"{what} must be a number from 0 on, but is {kind_of(value)}")
    return float(value)
