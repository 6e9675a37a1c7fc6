"""Writes the config.pbtxt that says what a trial has found. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

EXPLAINED = {
    "max_batch_size": "rows in one run, at most; 0 where the model has no batch dimension",
    "dynamic_batching": "requests that wait at the same time run together",
}


def config_text(described: Mapping[str, Any], origin: str = "") -> str:
    """The whole file, ending in a newline; with an `origin`, where it was read, also what its lines do."""
    return "\n".join(_lines(described, origin)) + "\n"


def _lines(described: Mapping[str, Any], origin: str) -> Iterator[str]:
    def why(field: str) -> str:
        return f"  # {EXPLAINED[field]}" if origin else ""

    if origin:
        yield f"# Read from {origin}; a line that is left out is read from the file again."
    yield f'platform: "{described["platform"]}"'
    yield f"max_batch_size: {described['max_batch_size']}{why('max_batch_size')}"
    if described["dynamic_batching"]:
        yield f"dynamic_batching {{ }}{why('dynamic_batching')}"
    for side in ("input", "output"):
        yield f"{side} ["
        yield ",\n".join(f"  {_tensor(tensor)}" for tensor in described[f"{side}s"])
        yield "]"


def _tensor(tensor: Mapping[str, Any]) -> str:
    datatype = "STRING" if tensor["datatype"] == "BYTES" else tensor["datatype"]
    reshape = "" if tensor["reshape"] is None else f" reshape {{ shape: {_list(tensor['reshape'])} }}"
    name = tensor["name"].replace("\\", "\\\\").replace('"', '\\"')
    return f'{{ name: "{name}" data_type: TYPE_{datatype} dims: {_list(tensor["dims"])}{reshape} }}'


def _list(sizes: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, sizes))} ]" if sizes else "[ ]"
