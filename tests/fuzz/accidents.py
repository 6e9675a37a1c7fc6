"""Requests that are right, and what accidents make of them."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from tests.contract.question import Tensor, filled

MODELS = ("double", "echo", "pair", "half", "truth", "small", "whole", "digits_onnx")
INPUTS: dict[str, list[Tensor]] = {
    "double": [filled("x", "FP32", 2, 4)],
    "echo": [filled("said", "BYTES", 2, 1)],
    "pair": [filled("a", "INT32", 1, 1), filled("b", "FP32", 1, 2)],
    "half": [filled("x", "FP16", 1, 2)],
    "truth": [filled("x", "BOOL", 1, 2)],
    "small": [filled("x", "UINT8", 1, 2)],
    "whole": [filled("x", "FP32", 2, 2)],
    "digits_onnx": [filled("IMAGE", "BYTES", 1, 1)],
}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([*INPUTS, "x", "y", "FP32", "BYTES", "BOOL", 0, 1, 2, 4, -1])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def good_document(model: str) -> dict[str, Any]:
    """With every member that a request may have."""
    document = {"inputs": [], "outputs": [], "id": "one", "parameters": {"timeout": 5_000_000, "priority": 1}}
    for tensor in INPUTS[model]:
        told = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        document["inputs"].append({**told, "data": list(tensor.data), "parameters": {"mine": 1}})
    outputs = {"echo": "heard", "pair": "c", "digits_onnx": "digit"}
    document["outputs"].append({"name": outputs.get(model, "y"), "parameters": {"binary_data": False}})
    return document


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document, as its holder and its key."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from places(value[key])


@st.composite
def mutated(draw: st.DrawFn, model: str) -> bytes:
    """A good request after a few accidents: values replaced, lost, doubled, moved; text cut."""
    document = deepcopy(good_document(model))
    for _ in range(draw(st.integers(1, 4))):
        found = list(places(document))
        if not found:
            break
        holder, key = draw(st.sampled_from(found))
        match draw(st.sampled_from(["replace", "lose", "double", "move"])):
            case "replace":
                holder[key] = draw(VALUES)
            case "lose":
                del holder[key]
            case "double" if isinstance(holder, list):
                holder.append(deepcopy(holder[key]))
            case "double":
                holder[draw(st.text(max_size=6))] = deepcopy(holder[key])
            case _:
                other, place = draw(st.sampled_from(found))
                other[place] = deepcopy(holder[key])
    text = json.dumps(document).encode()
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text
